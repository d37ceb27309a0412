"""Fixtures: an inventory server, the settings that select the plan, and the systems of the project's own tests."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtools.fixtures import kafka, pytest_runtest_makereport, pytest_runtest_setup, start_system
from devtools.system import Process
from devtools.wait import free_port

__all__ = ["kafka", "pytest_runtest_makereport", "pytest_runtest_setup", "start_system"]

EXAMPLE = Path(__file__).parents[1]


@pytest.fixture
def training() -> dict[str, str]:
    """The settings that select the plan of the example."""
    return {"plan": "training.plan:TRAINING", "world": "training.world:make_world"}


@pytest.fixture
def inventory_url(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the inventory, which `start_inventory` starts. Services get it from their environment."""
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE), prepend=os.pathsep)
    monkeypatch.setenv("TRAINING_INVENTORY", url)
    return url


@pytest.fixture
def start_inventory(inventory_url: str) -> Iterator[Callable[..., None]]:
    """Return a function that starts the inventory server: `start_inventory(devices=1)`."""
    started: list[Process] = []

    def start(devices: int = 1000) -> None:
        port = inventory_url.rpartition(":")[2]
        command = (sys.executable, "-m", "training.inventory", "--port", port, "--devices", str(devices))
        started.append(Process(*command, cwd=EXAMPLE))
        started[-1].wait_for_line("inventory on", 20)

    yield start
    for server in started:
        server.end()
