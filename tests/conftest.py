"""Fixtures for brokers and running systems. Tests that lack a required program are skipped; with CI=true they fail."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from devtools.fixtures import (
    kafka,
    pytest_runtest_makereport,
    pytest_runtest_setup,
    running_kafka,
    skip_reason,
    start_system,
)
from devtools.real_kafka import RealKafka
from devtools.system import System

__all__ = ["kafka", "pytest_runtest_makereport", "pytest_runtest_setup", "start_system"]

pytest_plugins = ["tests.field_table"]

# A deadline for one example measures the load of the machine, not the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# Child processes inherit an ignored SIGHUP (from nohup), but not a handler. Tests send SIGHUP to their children.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)


@pytest.fixture(autouse=True)
def restored_log_configuration() -> Iterator[None]:
    """Undo a configuration of structlog by the test, also in loggers that have cached it."""
    before = structlog.get_config()
    yield
    if structlog.get_config() == before:
        return
    structlog.configure(**before)
    lazy_logger = type(structlog.get_logger())
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if isinstance(value, lazy_logger):
                vars(value).pop("bind", None)


@pytest.fixture(scope="module")
def kafka_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a real broker for one module, whose tests may change or delete its topics."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[RealKafka]:
    """A running real broker for one test, which may stop, kill and start it."""
    with running_kafka(tmp_path / "kafka") as broker:
        yield broker


@pytest.fixture(scope="session")
def embedded() -> Iterator[str]:
    """HOST:PORT of an embedded broker with the topics of the project, shared by all tests of the session."""
    from saga_app.local.broker import Broker
    from saga_app.service.kafka.topics import TOPICS

    with Broker(topics=dict.fromkeys(TOPICS, 12)) as broker:
        yield broker.bootstrap


@pytest.fixture
def system(start_system: Callable[..., System]) -> System:
    """A running `saga up` on the embedded broker whose steps take at most 0.1 s."""
    return start_system(lag="0-0.1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a real broker with `kafka`."""
    for item in items:
        if {"kafka", "kafka_of_module", "own_kafka"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print at the end how many tests were skipped for each reason."""
    skipped: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        skipped[skip_reason(report)] = skipped.get(skip_reason(report), 0) + 1
    for reason, count in skipped.items():
        terminalreporter.write_line(f"skipped: {count} tests: {reason}", yellow=True)
