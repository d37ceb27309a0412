"""Records are gathered only while many arrive."""

from collections.abc import Iterator

import pytest

from saga_app.stream.consume.gather import GATHER_ABOVE, INTERVAL_S, WINDOW_S, Gather


def pauses(rate: float, gather: Gather, began_at: float, seconds: float) -> Iterator[float]:
    """The pause before each of the records that arrive at this rate (records a second)."""
    for number in range(int(rate * seconds)):
        now = began_at + number / rate
        yield gather.pause_s(now)
        gather.took(1, now)


def test_few_records_are_taken_at_once() -> None:
    gather = Gather()
    assert not any(pauses(GATHER_ABOVE / 2, gather, 100.0, 5 * WINDOW_S))


def test_many_records_are_taken_at_intervals() -> None:
    gather = Gather()
    list(pauses(GATHER_ABOVE * 2, gather, 100.0, 2 * WINDOW_S))
    now = 100.0 + 2 * WINDOW_S
    gather.took(1, now)
    assert gather.pause_s(now) == pytest.approx(INTERVAL_S)
    assert gather.pause_s(now + INTERVAL_S / 4) == pytest.approx(INTERVAL_S * 3 / 4)
    assert gather.pause_s(now + 2 * INTERVAL_S) == 0


def test_gathering_ends_when_few_records_arrive() -> None:
    gather = Gather()
    list(pauses(GATHER_ABOVE * 2, gather, 100.0, 2 * WINDOW_S))
    after = list(pauses(GATHER_ABOVE / 2, gather, 100.0 + 2 * WINDOW_S, 4 * WINDOW_S))
    assert not any(after[len(after) // 2 :])
