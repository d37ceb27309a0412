"""Pytest fixtures and hooks that this project's tests and those of the example share; a conftest.py imports them."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pluggy
import pytest

from devtools import real_kafka
from devtools.chromium import chromium
from devtools.real_kafka import RealKafka
from devtools.system import System

CI = os.environ.get("CI", "").lower() in ("1", "true")


@contextmanager
def running_kafka(data: Path) -> Iterator[RealKafka]:
    """A real broker that is stopped, and its data deleted, at the end of the block. Skips the test if it cannot run."""
    if reason := real_kafka.missing():
        pytest.skip(reason)
    broker = RealKafka(data)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
        broker.clean()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a real broker, shared by all tests of the session."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
def start_system(tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Return a function that starts `saga up` and waits until it is ready: `start_system("--users", "3", lag="0")`.

    With `wait=False` it returns immediately. The systems are stopped after the test.
    """
    started: list[System] = []

    def start(*arguments: str, wait: bool = True, **settings: Any) -> System:
        data = tmp_path / f"system-{len(started)}"
        data.mkdir()
        started.append(System(data, *arguments, **settings))
        if wait:
            started[-1].ready()
        return started[-1]

    yield start
    for running in started:
        running.end()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test if this machine lacks a program that it needs."""
    if item.get_closest_marker("kafka") and (reason := real_kafka.missing()):
        pytest.skip(reason)
    if item.get_closest_marker("browser") and chromium() is None:
        pytest.skip("a browser is needed: Chromium")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """With CI=true, report a skipped test as failed."""
    outcome = yield
    report = outcome.get_result()
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI=true does not allow: {skip_reason(report)}"


def skip_reason(report: Any) -> str:
    """The reason why a test was skipped."""
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")
