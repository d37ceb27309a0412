"""During an outage, a repeated log line is written once per interval."""

import logging
from collections.abc import Iterator

import pytest

from saga_app.stream import log_throttle
from saga_app.stream.log_throttle import LogThrottle

log = logging.getLogger("test-throttle")


class FakeClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lines(clock: FakeClock) -> Iterator[list[str]]:
    """The messages that pass the throttle of `log`, whose interval is 10 seconds."""
    passed: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: passed.append(record.getMessage())  # type: ignore[method-assign]
    throttle = LogThrottle(every_s=10, clock=clock)
    log.addHandler(handler)
    log.addFilter(throttle)
    log.setLevel(logging.DEBUG)
    yield passed
    log.removeHandler(handler)
    log.removeFilter(throttle)


def test_a_repeated_line_passes_once_then_with_the_suppressed_count(clock: FakeClock, lines: list[str]) -> None:
    for attempt in range(1000):
        log.error("no connection, attempt %d to 0x%x", attempt, attempt)
    clock.now += 10
    log.error("no connection, attempt %d to 0x%x", 1000, 1000)
    assert lines == [
        "no connection, attempt 0 to 0x0",
        "no connection, attempt 1000 to 0x3e8 (999 more like this in 10 s)",
    ]


def test_lines_that_differ_in_level_or_text_pass(lines: list[str]) -> None:
    for level in (logging.ERROR, logging.WARNING):
        log.log(level, "no connection")
        log.log(level, "no coordinator")
    assert len(lines) == 4


def test_information_that_differs_in_a_number_is_not_a_repetition(lines: list[str]) -> None:
    for partition in range(3):
        log.info("opening partition %d", partition)
    assert len(lines) == 3


def test_the_number_of_remembered_lines_is_limited(clock: FakeClock) -> None:
    throttle = LogThrottle(every_s=10, remembered=3, clock=clock)
    for number in range(100):
        throttle.filter(logging.makeLogRecord({"name": "x", "msg": f"line {number}", "levelno": logging.INFO}))
    assert len(throttle._seen) == 3


def test_install_adds_one_throttle_to_each_logger_of_the_packages() -> None:
    child, other = logging.getLogger("talker.deep.inside"), logging.getLogger("talkers")
    log_throttle.install(packages=["talker"])
    log_throttle.install(packages=["talker"])
    assert [len(logger.filters) for logger in (logging.getLogger("talker"), child, other)] == [1, 1, 0]
