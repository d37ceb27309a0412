"""Times on the wire."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.messages import Time
from saga_app.saga.times import between, epoch, iso


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
