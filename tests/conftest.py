"""Brokers and a running system for tests; what a machine lacks is said, and with CI=true it is a failure."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from devtools import real_kafka
from devtools.real_kafka import RealKafka
from devtools.system import System

pytest_plugins = ["tests.field_table"]

# A deadline for one example measures how busy the machine is, and not the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# Under nohup SIGHUP is ignored, and processes inherit that. They do not inherit a handler.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

CI = os.environ.get("CI", "").lower() in ("1", "true")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a real broker that all tests share."""
    with _running(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def kafka_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a real broker that only the tests of one module use: they change or delete its topics."""
    with _running(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[RealKafka]:
    """A real broker of this test alone, running; it may be stopped, killed and started."""
    with _running(tmp_path / "kafka") as broker:
        yield broker


@pytest.fixture(scope="session")
def embedded() -> Iterator[str]:
    """HOST:PORT of an embedded broker with the project's topics, that all tests share."""
    from saga_app.local.broker import Broker
    from saga_app.service.kafka.topics import TOPICS

    with Broker(topics=dict.fromkeys(TOPICS, 12)) as broker:
        yield broker.bootstrap


@pytest.fixture
def start_system(tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Start a `saga up`: `start_system("--users", "3", lag="0")`; it is ready when this returns, and ended by us."""
    started: list[System] = []

    def start(*arguments: str, wait: bool = True, **settings: Any) -> System:
        data = tmp_path / f"system-{len(started)}"
        data.mkdir()
        started.append(System(data, *arguments, **settings))
        if wait:
            started[-1].ready()
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture
def system(start_system: Callable[..., System]) -> System:
    """A running `saga up` on the embedded broker, quick of step."""
    return start_system(lag="0-0.1")


class _running:
    """A real broker for as long as it is needed."""

    def __init__(self, data: Path) -> None:
        if reason := real_kafka.missing():
            pytest.skip(reason)
        self.broker = RealKafka(data)

    def __enter__(self) -> RealKafka:
        self.broker.start()
        return self.broker

    def __exit__(self, *_exc: object) -> None:
        self.broker.stop()
        self.broker.clean()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a real broker is marked so."""
    for item in items:
        if {"kafka", "kafka_of_module", "own_kafka"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs what is not there is skipped, with the reason."""
    if item.get_closest_marker("kafka") and (reason := real_kafka.missing()):
        pytest.skip(reason)
    if item.get_closest_marker("browser") and not any(map(shutil.which, CHROMIUM)):
        pytest.skip("a browser is needed: Chromium")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """With CI=true nothing is left out silently."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"left out, which CI=true does not allow: {_reason(report)}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last lines name what was left out, and why."""
    left_out: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        left_out[_reason(report)] = left_out.get(_reason(report), 0) + 1
    for reason, count in left_out.items():
        terminalreporter.write_line(f"left out: {count} tests: {reason}", yellow=True)


def _reason(report: Any) -> str:
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")
