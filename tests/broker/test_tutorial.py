"""Executes the tutorial command by command, and the curl commands of README."""

import re
from pathlib import Path

import pytest

from devtools.http_client import ask
from devtools.system import Process
from devtools.wait import until
from tests.document_runner import environment, run, start
from tests.documented import ROOT, commands

TUTORIAL, README = ROOT / "docs" / "tutorial.md", ROOT / "README.md"


@pytest.mark.skipif(
    not (ROOT / ".venv" / "bin" / "saga").exists(), reason="the virtual environment of `make run` is needed"
)
@pytest.mark.timeout(480)
def test_every_command_of_the_tutorial_works_in_order(tmp_path: Path) -> None:
    env = environment(tmp_path)
    console = f"http://127.0.0.1:{env['SAGA_CONSOLE_PORT']}"
    curls = [line for line in commands(README) if line.startswith("curl ")]
    lines = [*commands(TUTORIAL), *curls]
    running: Process | None = None
    try:
        for line in lines:
            if line.endswith("make run"):
                if running is not None:
                    running.end()
                running = start(line, env)
                running.wait_for_line(f"ready: {console}", 90)
            elif line.startswith("sleep "):  # until the sagas have ended or are parked
                # With SAGA_FLAKY_RATE=0.2, one mail in 600 fails four times, and is tried again after a minute.
                until(lambda: ask(f"{console}/api/stats")[1]["in_flight"] == 0, 150, "sagas are still in flight")
            else:
                output = run(line.replace("http://127.0.0.1:8080", console), env)
                if line.endswith("saga list --state parked"):
                    assert {"barbara", "grace"} <= set(re.findall(r"\w+", output))
    finally:
        if running is not None:
            running.end()
    assert len(lines) > 20
    assert curls
