"""The log level: of the setting, and of faust's command line."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools.system import Process
from devtools.wait import free_port
from saga_app.service import log

Now = Callable[[str], None]


@pytest.mark.field(23)
@pytest.mark.parametrize(
    ("level", "least", "chatty"),
    [
        ("debug", logging.DEBUG, logging.INFO),
        ("info", logging.INFO, logging.WARNING),
        ("warning", logging.WARNING, logging.WARNING),
        ("error", logging.ERROR, logging.ERROR),
    ],
)
def test_the_level_counts_for_our_lines_and_for_those_of_libraries(level: str, least: int, chatty: int) -> None:
    config = log.config("notifier", "json", level)
    assert config["root"]["level"] == config["handlers"]["line"]["level"] == least
    assert {each["level"] for each in config["loggers"].values()} == {chatty}


@pytest.mark.field(22, 23)
@pytest.mark.parametrize(
    ("options", "setting", "shown"),
    [
        (("-l", "debug"), {"SAGA_LOG_LEVEL": "error"}, True),
        ((), {"SAGA_LOG_LEVEL": "debug"}, True),
        ((), {}, False),
        (("-l", "info"), {"SAGA_LOG_LEVEL": "debug"}, False),
    ],
)
def test_fausts_option_comes_before_the_setting(
    options: tuple[str, ...], setting: dict[str, str], shown: bool, tmp_path: Path, now: Now
) -> None:
    port = str(free_port())
    env = {"SAGA_BROKER": "kafka://127.0.0.1:1", "SAGA_NOTIFIER_PORT": port, "SAGA_LOG": "json", **setting}
    command = (sys.executable, "-m", "faust", *options, "-A", "agents.notifier", "worker")
    worker = Process(*command, env=env | {"PYTHONIOENCODING": "ascii"}, cwd=tmp_path)
    try:
        worker.wait_for_line('"event": "waiting"', 60)
        assert any('"level": "debug"' in line for line in worker.lines) == shown
        assert not any("Error" in line and "Unicode" in line for line in worker.lines)
    finally:
        worker.end()
    now(f"{' '.join(options)} {setting}: debug lines {'shown' if shown else 'not shown'}")
