"""Times on the wire."""

from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.messages import Time
from saga_app.saga.times import EARLIEST_S, between, epoch, iso, record_time, span, timestamp_text
from tests.builders import START


def test_a_time_says_utc_and_milliseconds() -> None:
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(1_700_000_000.9999) == "2023-11-14T22:13:20.999Z"
    assert iso(1_700_000_000.9999999) == "2023-11-14T22:13:21.000Z"


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_that_is_read_is_the_one_that_was_written(milliseconds: int) -> None:
    time = iso(milliseconds / 1000)
    assert round(epoch(time) * 1000) == milliseconds
    assert iso(epoch(time)) == time


@given(st.from_regex(get_args(Time)[1].metadata[0].pattern, fullmatch=True))
def test_every_time_that_a_message_may_hold_can_be_read(time: str) -> None:
    assert -31e9 < epoch(time) < 254e9


def test_a_day_that_its_month_lacks_is_one_of_the_next() -> None:
    assert epoch("2026-02-30T12:00:00Z") == epoch("2026-03-02T12:00:00Z")
    assert epoch("2026-04-31T12:00:00.5Z") == epoch("2026-05-01T12:00:00.500Z")


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_times_sort_as_text(one: float, other: float) -> None:
    if round(one, 3) < round(other, 3) - 0.002:
        assert iso(one) < iso(other)
        assert between(iso(one), iso(other)) > 0


#: What a record's timestamp may be: none, zero, seconds and microseconds for milliseconds, the ends of 64 bits.
ODD = [
    -1,
    0,
    1,
    1_700_000_000,
    1_700_000_000_000_000,
    253_402_300_800_000,
    2**63 - 1,
    -(2**63),
    int(EARLIEST_S) * 1000 - 1,
]


@pytest.mark.field(2, 3)
@pytest.mark.parametrize("timestamp", ODD)
def test_a_timestamp_that_no_clock_shows_counts_as_now(timestamp: int, now: Callable[[str], None]) -> None:
    assert record_time(timestamp, START) == START
    assert iso(record_time(timestamp, START))
    now("counts as now")


@pytest.mark.field(3)
@pytest.mark.parametrize("ahead", [0.001, 7200.0, 172_800.0])
def test_a_timestamp_in_the_future_counts_as_now(ahead: float) -> None:
    assert record_time(int((START + ahead) * 1000), START) == START


def test_a_timestamp_of_the_past_is_believed() -> None:
    assert record_time(int((START - 172_800) * 1000), START) == START - 172_800


@pytest.mark.field(36)
@pytest.mark.parametrize("ahead", [-300.0, 300.0])
def test_a_wrong_clock_of_the_broker_is_corrected(ahead: float) -> None:
    """A request that waited for a minute."""
    assert record_time(int((START - 60 + ahead) * 1000), START, ahead) == START - 60


@given(st.integers(-(2**63), 2**63 - 1), st.floats(EARLIEST_S, 4e9), st.floats(-1e6, 1e6))
def test_whatever_a_timestamp_is_its_time_is_possible(timestamp: int, now: float, ahead: float) -> None:
    assert EARLIEST_S <= record_time(timestamp, now, ahead) <= now
    assert timestamp_text(timestamp)


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_no_time_between_two_others_is_negative(one: float, other: float) -> None:
    assert between(iso(one), iso(other)) >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (8.4, "8 s"), (99, "99 s"), (100, "2 min"), (300, "5 min"), (3599, "1 h"), (5400, "1 h 30 min")],
)
def test_a_length_of_time_is_rounded_to_what_a_person_reads(seconds: float, text: str) -> None:
    assert span(seconds) == text
