"""The tutorial, executed line by line, and what README and the import guide send over HTTP."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from devtools.system import PORTS, Process
from devtools.wait import free_ports
from tests.documented import PAGES, ROOT, commands

TUTORIAL = ROOT / "docs" / "tutorial.md"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Ports and data of this test's own, where the documents use the defaults."""
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    return {f"SAGA_{name.upper()}": port for name, port in ports.items()} | {"SAGA_DATADIR": str(tmp_path)}


def start(line: str, environment: dict[str, str]) -> Process:
    process = Process("bash", "-c", f"exec {line}" if "=" not in line else line, env=environment, cwd=ROOT)
    process.wait_for_line("ready: http://127.0.0.1", 90)
    return process


def run(line: str, environment: dict[str, str], cwd: Path = ROOT) -> str:
    env = os.environ | environment
    done = subprocess.run(
        ["bash", "-c", line], env=env, cwd=cwd, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "saga").exists(), reason="the environment that make run makes")
@pytest.mark.timeout(300)
def test_every_command_of_the_tutorial_works_in_its_order(environment: dict[str, str]) -> None:
    running: Process | None = None
    lines = commands(TUTORIAL)
    try:
        for line in lines:
            if line.endswith("make run"):
                if running is not None:
                    running.end()
                running = start(line, environment)
            else:
                said = run(line, environment)
                if line.endswith("saga list --state parked"):
                    assert {"barbara", "grace"} <= set(re.findall(r"\w+", said))
    finally:
        if running is not None:
            running.end()
    assert len(lines) > 20


def test_what_the_documents_send_over_http_is_accepted(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("name,email,department\nAda,ada@example.com,Sales\n", "utf-8")
    port = environment["SAGA_CONSOLE_PORT"]
    curls = [line for page in PAGES for line in commands(page) if line.startswith("curl ")]
    running = start(".venv/bin/saga up", environment)
    try:
        answers = [run(line.replace(":8080", f":{port}"), environment, tmp_path) for line in curls]
    finally:
        running.end()
    assert len(answers) >= 3
    assert all('"id' in answer for answer in answers), answers
