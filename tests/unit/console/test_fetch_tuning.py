"""Fetch tuning: under load a fetch waits for more data; without load a record is fetched immediately."""

from typing import Any

import pytest

from saga_app.console.kafka.fetch_tuning import GATHER_S, FetchTuner
from tests.fakes.stream import record

WAIT_MS = 500

FETCHES_PER_S = 10


class TrafficSimulator:
    """A `FetchTuner` with a simulated clock. `wait`: the minimum bytes and maximum milliseconds that it has set."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.wait = 1, WAIT_MS
        self.tuner = FetchTuner(self.set_wait, WAIT_MS, clock=lambda: self.now_s)

    def set_wait(self, min_bytes: int, max_wait_ms: int) -> None:
        self.wait = min_bytes, max_wait_ms

    def simulate(self, records_per_s: float, duration_s: float, size_bytes: int = 800) -> None:
        """Fetch records at this rate, with `FETCHES_PER_S` fetches per second."""
        run: list[Any] = [record(0, value=b"x" * size_bytes)] * round(records_per_s / FETCHES_PER_S)
        for _ in range(round(duration_s * FETCHES_PER_S)):
            self.now_s += 1 / FETCHES_PER_S
            self.tuner.record_fetch({("in", 0): run} if run else {})


@pytest.fixture
def traffic() -> TrafficSimulator:
    return TrafficSimulator()


def test_without_load_records_are_fetched_immediately(traffic: TrafficSimulator) -> None:
    traffic.simulate(20, duration_s=5)
    assert traffic.wait == (1, WAIT_MS)


def test_under_load_a_fetch_waits_briefly_for_more_records(traffic: TrafficSimulator) -> None:
    traffic.simulate(2000, duration_s=5)
    min_bytes, max_wait_ms = traffic.wait
    assert min_bytes == pytest.approx(2000 * 800 * GATHER_S, rel=0.1)
    assert max_wait_ms <= 100


def test_after_the_load_records_are_fetched_immediately_again(traffic: TrafficSimulator) -> None:
    traffic.simulate(2000, duration_s=5)
    traffic.simulate(0, duration_s=3)
    assert traffic.wait == (1, WAIT_MS)
