"""Under load a fetch waits until it is worth its price; a record that comes alone is fetched at once."""

from typing import Any

import pytest

from saga_app.console.kafka.fetch_tuning import GATHER_S, FetchTuner
from tests.fakes.stream import record

WAIT_MS = 500


class Traffic:
    """What fetches wait for, and a clock that the test turns on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits_for = 1, WAIT_MS
        self.gather = FetchTuner(self.wait_for, WAIT_MS, clock=lambda: self.now)

    def wait_for(self, min_bytes: int, max_wait_ms: int) -> None:
        self.waits_for = min_bytes, max_wait_ms

    def flows(self, records_per_s: float, seconds: float, size: int = 800) -> None:
        """So many records a second come, in fetches of ten a second."""
        run: list[Any] = [record(0, value=b"x" * size)] * round(records_per_s / 10)
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.gather.record_fetch({("in", 0): run} if run else {})


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


def test_a_few_records_a_second_are_each_fetched_at_once(traffic: Traffic) -> None:
    traffic.flows(20, seconds=5)
    assert traffic.waits_for == (1, WAIT_MS)


def test_under_load_a_fetch_waits_for_what_comes_meanwhile_and_not_long(traffic: Traffic) -> None:
    traffic.flows(2000, seconds=5)
    min_bytes, max_wait_ms = traffic.waits_for
    assert min_bytes == pytest.approx(2000 * 800 * GATHER_S, rel=0.1)
    assert max_wait_ms <= 100


def test_when_the_load_is_over_records_are_fetched_at_once_again(traffic: Traffic) -> None:
    traffic.flows(2000, seconds=5)
    traffic.flows(0, seconds=3)
    assert traffic.waits_for == (1, WAIT_MS)
