"""The log level, from SAGA_LOG_LEVEL or from the option of the faust command."""

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
    ("level", "own_level", "library_level"),
    [
        ("debug", logging.DEBUG, logging.INFO),
        ("info", logging.INFO, logging.WARNING),
        ("warning", logging.WARNING, logging.WARNING),
        ("error", logging.ERROR, logging.ERROR),
    ],
)
def test_the_level_applies_to_own_and_to_library_loggers(level: str, own_level: int, library_level: int) -> None:
    config = log.config("notifier", "json", level)
    assert config["root"]["level"] == config["handlers"]["line"]["level"] == own_level
    assert {each["level"] for each in config["loggers"].values()} == {library_level}


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
def test_the_faust_option_overrides_the_setting(
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
