"""Conversion of times: ISO 8601, record timestamps that may be invalid, and durations."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.times import EARLIEST_S, between, iso, record_time, span, timestamp_text, utc
from tests.builders import START


def test_a_time_is_in_utc_with_milliseconds() -> None:
    assert iso(utc(0)) == "1970-01-01T00:00:00.000Z"
    assert iso(utc(1_700_000_000.9999)) == "2023-11-14T22:13:20.999Z"
    assert iso(utc(1_700_000_000.9999999)) == "2023-11-14T22:13:21.000Z"


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    assert iso(datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-01T10:00:00.000Z"


@given(st.integers(0, 4_000_000_000_000))
def test_a_written_time_is_read_back_unchanged(milliseconds: int) -> None:
    time = utc(milliseconds / 1000)
    assert round(time.timestamp() * 1000) == milliseconds
    assert utc(time.timestamp()) == time
    assert datetime.fromisoformat(iso(time)) == time


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_times_sort_as_text(one: float, other: float) -> None:
    if round(one, 3) < round(other, 3) - 0.002:
        assert iso(utc(one)) < iso(utc(other))
        assert between(utc(one), utc(other)) > 0


#: Implausible timestamps of records: missing, zero, in seconds, in microseconds, and the limits of 64 bits.
IMPLAUSIBLE_TIMESTAMPS = [
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
@pytest.mark.parametrize("timestamp", IMPLAUSIBLE_TIMESTAMPS)
def test_an_implausible_timestamp_counts_as_now(timestamp: int, now: Callable[[str], None]) -> None:
    assert record_time(timestamp, START) == START
    assert iso(utc(record_time(timestamp, START)))
    now("counts as now")


@pytest.mark.field(3)
@pytest.mark.parametrize("ahead", [0.001, 7200.0, 172_800.0])
def test_a_timestamp_in_the_future_counts_as_now(ahead: float) -> None:
    assert record_time(int((START + ahead) * 1000), START) == START


def test_a_timestamp_in_the_past_is_used() -> None:
    assert record_time(int((START - 172_800) * 1000), START) == START - 172_800


@pytest.mark.field(36)
@pytest.mark.parametrize("ahead", [-300.0, 300.0])
def test_a_known_error_of_the_brokers_clock_is_corrected(ahead: float) -> None:
    written_at = START - 60
    assert record_time(int((written_at + ahead) * 1000), START, ahead) == written_at


@given(st.integers(-(2**63), 2**63 - 1), st.floats(EARLIEST_S, 4e9), st.floats(-1e6, 1e6))
def test_the_time_of_any_timestamp_is_plausible(timestamp: int, now: float, ahead: float) -> None:
    assert EARLIEST_S <= record_time(timestamp, now, ahead) <= now
    assert timestamp_text(timestamp)


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_a_duration_is_never_negative(one: float, other: float) -> None:
    assert between(utc(one), utc(other)) >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (8.4, "8 s"), (99, "99 s"), (100, "2 min"), (300, "5 min"), (3599, "1 h"), (5400, "1 h 30 min")],
)
def test_a_duration_is_rounded_for_display(seconds: float, text: str) -> None:
    assert span(seconds) == text
