"""An outage is told once in a while, not ten thousand times a second."""

import logging
from collections.abc import Iterator

import pytest

from saga_app.stream import log_throttle
from saga_app.stream.log_throttle import LogThrottle


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(clock: Clock) -> Iterator[list[str]]:
    """What comes out of a quietened logger."""
    out: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: out.append(record.getMessage())  # type: ignore[method-assign]
    logger, filtering = logging.getLogger("test-quiet"), LogThrottle(every_s=10, clock=clock)
    logger.addHandler(handler)
    logger.addFilter(filtering)
    logger.setLevel(logging.DEBUG)
    yield out
    logger.removeHandler(handler)
    logger.removeFilter(filtering)


log = logging.getLogger("test-quiet")


def test_a_line_that_repeats_itself_passes_once_and_then_says_how_often_it_was_held_back(
    clock: Clock, lines: list[str]
) -> None:
    for attempt in range(1000):
        log.error("no connection, attempt %d to 0x%x", attempt, attempt)
    clock.now += 10
    log.error("no connection, attempt %d to 0x%x", 1000, 1000)
    assert lines == [
        "no connection, attempt 0 to 0x0",
        "no connection, attempt 1000 to 0x3e8 (999 more like this in 10 s)",
    ]


def test_other_lines_pass_meanwhile(lines: list[str]) -> None:
    for level in (logging.ERROR, logging.WARNING):
        log.log(level, "no connection")
        log.log(level, "no coordinator")
    assert len(lines) == 4


def test_information_that_differs_in_a_number_is_not_a_repetition(lines: list[str]) -> None:
    for partition in range(3):
        log.info("opening partition %d", partition)
    assert len(lines) == 3


def test_it_does_not_remember_for_ever(clock: Clock) -> None:
    filtering = LogThrottle(every_s=10, remembered=3, clock=clock)
    for number in range(100):
        filtering.filter(logging.makeLogRecord({"name": "x", "msg": f"line {number}", "levelno": logging.INFO}))
    assert len(filtering._seen) == 3


def test_all_loggers_of_the_talkative_packages_are_quietened_once() -> None:
    child, other = logging.getLogger("talker.deep.inside"), logging.getLogger("talkers")
    log_throttle.install(packages=["talker"])
    log_throttle.install(packages=["talker"])
    assert [len(logger.filters) for logger in (logging.getLogger("talker"), child, other)] == [1, 1, 0]
