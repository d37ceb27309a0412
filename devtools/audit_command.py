"""`saga audit`, as somebody on another machine would run it."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

#: However many sagas there are (seconds).
WITHIN_S = 400.0


@dataclass(frozen=True)
class Audit:
    """What it has said, and how long that took (seconds)."""

    code: int
    said: str
    took_s: float
    findings: list[Any] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return self.code == 0 and not self.findings

    def __str__(self) -> str:
        found = "clean" if self.clean else f"exit code {self.code}, {len(self.findings)} findings"
        return f"{found} (took {self.took_s:.0f} s)"


def audit(bootstrap: str) -> Audit:
    """It reads the topics of this broker."""
    began = time.monotonic()
    command = [sys.executable, "-m", "saga_app", "audit", "--json", "--broker", f"kafka://{bootstrap}"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        return Audit(1, f"no answer within {WITHIN_S:g} s", WITHIN_S)
    took_s = time.monotonic() - began
    try:
        findings = json.loads(done.stdout)["findings"]
    except (ValueError, KeyError):
        return Audit(done.returncode or 1, (done.stdout + done.stderr)[-2000:], took_s)
    return Audit(done.returncode, done.stdout, took_s, findings)
