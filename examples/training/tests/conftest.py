"""The fixtures of the project's tests, an inventory server, and the settings that select the plan."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtools.system import Process
from devtools.wait import free_port
from tests.conftest import kafka, pytest_runtest_makereport, pytest_runtest_setup, start_system

__all__ = ["kafka", "pytest_runtest_makereport", "pytest_runtest_setup", "start_system"]

EXAMPLE = Path(__file__).parents[1]


@pytest.fixture
def training() -> dict[str, str]:
    """The settings of a system that works by the plan of the example."""
    return {"plan": "training.plan:TRAINING", "world": "training.world:make_world"}


@pytest.fixture
def inventory_url(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the inventory answers once it has been started; the services get it from the environment."""
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE), prepend=os.pathsep)
    monkeypatch.setenv("TRAINING_INVENTORY", url)
    return url


@pytest.fixture
def start_inventory(inventory_url: str) -> Iterator[Callable[..., None]]:
    """Start the inventory server: `start_inventory(devices=1)`."""
    started: list[Process] = []

    def start(devices: int = 1000) -> None:
        port = inventory_url.rpartition(":")[2]
        command = (sys.executable, "-m", "training.inventory", "--port", port, "--devices", str(devices))
        started.append(Process(*command, cwd=EXAMPLE))
        started[-1].wait_for_line("inventory on", 20)

    yield start
    for each in started:
        each.end()
