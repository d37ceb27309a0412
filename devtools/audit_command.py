"""Runs `saga audit` in a process of its own, with nothing but the address of the broker."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

#: How long an audit may take, however many sagas there are (seconds).
TIMEOUT_S = 400.0


@dataclass(frozen=True)
class Audit:
    """The result of an audit: exit code, output, duration in seconds, and the findings of the report."""

    code: int
    output: str
    took_s: float
    findings: list[Any] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether the audit succeeded without findings."""
        return self.code == 0 and not self.findings

    def __str__(self) -> str:
        result = "clean" if self.clean else f"exit code {self.code}, {len(self.findings)} findings"
        return f"{result} (took {self.took_s:.0f} s)"


def audit(bootstrap: str) -> Audit:
    """Run `saga audit` against this broker (HOST:PORT). An audit that fails or times out is returned as not clean."""
    began = time.monotonic()
    command = [sys.executable, "-m", "saga_app", "audit", "--json", "--broker", f"kafka://{bootstrap}"]
    try:
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Audit(1, f"no result within {TIMEOUT_S:g} s", TIMEOUT_S)
    took_s = time.monotonic() - began
    try:
        findings = json.loads(result.stdout)["findings"]
    except (ValueError, KeyError):
        return Audit(result.returncode or 1, (result.stdout + result.stderr)[-2000:], took_s)
    return Audit(result.returncode, result.stdout, took_s, findings)
