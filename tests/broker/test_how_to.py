"""Executes the commands of the how-to guides that need the embedded broker only."""

from pathlib import Path

import pytest

from devtools.http_client import ask
from devtools.wait import until
from tests.document_runner import environment, run, start
from tests.documented import ROOT, commands

HOW_TO = ROOT / "docs" / "how-to"
#: Guides whose commands need a real Kafka: see tests/kafka/test_how_to.py.
ON_KAFKA = ("run-on-kafka.md", "scale-and-grow.md")

CSV = "name,email,department,id\nAda Lovelace,ada@example.com,Sales,\nGrace Hopper,grace@example.com,People,\n"

LINES = [line for page in sorted(HOW_TO.glob("*.md")) if page.name not in ON_KAFKA for line in commands(page)]
UP_LINES = [line for line in LINES if line.endswith(" saga up")]


def wait_for_rollbacks(console: str, count: int) -> None:
    """Wait until so many sagas of the department that no policy knows are rolled back."""
    url = f"{console}/api/sagas?department=Unknown&state=rolled-back&limit=1"
    until(lambda: ask(url)[1]["total"] == count, 30, f"{count} sagas are not rolled back")


@pytest.mark.timeout(240)
def test_every_command_of_the_how_to_guides_works(tmp_path: Path) -> None:
    env = environment(tmp_path)
    console = f"http://127.0.0.1:{env['SAGA_CONSOLE_PORT']}"
    (tmp_path / "users.csv").write_text(CSV)
    lines = [line for line in LINES if line not in UP_LINES]
    running = start("saga up", env)
    attempts = 1
    try:
        running.wait_for_line(f"ready: {console}", 90)
        run("saga new --id ada --name Ada --email ada@example.com --department Unknown", env)
        for line in lines:
            wait_for_rollbacks(console, attempts)
            command = line.replace("ID", "ada").replace("http://127.0.0.1:8080", console)
            command = command.replace(":9092", f":{env['SAGA_EMBEDDED_PORT']}").replace("--settle 60", "--settle 2")
            run(command, env, tmp_path)
            attempts += "--again" in line
    finally:
        running.end()
    assert len(lines) >= 14


@pytest.mark.parametrize("line", UP_LINES)
def test_saga_up_starts_with_the_documented_settings(line: str, tmp_path: Path) -> None:
    running = start(line, environment(tmp_path))
    try:
        running.wait_for_line("ready: http", 90)
    finally:
        running.end()


def test_the_guides_show_how_to_start_with_a_token() -> None:
    assert any("SAGA_TOKEN=" in line for line in UP_LINES)
