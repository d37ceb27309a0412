"""Times: aware UTC datetimes with milliseconds in the program, ISO 8601 on the wire and in the API."""

from datetime import UTC, datetime

#: Kafka records have timestamps since 2016. An earlier one is zero, in another unit, or from a clock that was not set.
EARLIEST_S = 1_451_606_400.0

_YEAR_10000_MS = 253_402_300_800_000


def utc(seconds: float) -> datetime:
    """The time `seconds` after the beginning of 1970 (UTC), with its microseconds cut to whole milliseconds."""
    return datetime.fromtimestamp(round(seconds * 1_000_000) // 1000 / 1000, UTC)


def iso(time: datetime) -> str:
    """`2026-11-23T12:00:00.123Z`: times in this form sort as text."""
    if time.tzinfo is not UTC:
        try:
            time = time.astimezone(UTC)
        except OverflowError:  # another time zone in the first or the last hours of the calendar
            time = time.replace(tzinfo=UTC)
    return f"{time.isoformat(timespec='milliseconds')[:-6]}Z"


def record_time(timestamp_ms: int, now_s: float, ahead_s: float = 0.0) -> float:
    """The plausible time of a record, in seconds since 1970.

    `timestamp_ms` may be any integer, because a client or a broker with a wrong clock may have written it. `ahead_s`:
    how far that clock is known to be ahead of the local one. A timestamp that is missing (-1), before `EARLIEST_S`, or
    later than `now_s` is replaced by `now_s`.
    """
    seconds = timestamp_ms / 1000 - ahead_s
    return seconds if EARLIEST_S <= seconds <= now_s else now_s


def timestamp_text(timestamp_ms: int) -> str:
    """A record's timestamp for display, uncorrected: ISO 8601, or the plain number for years outside ISO 8601."""
    return iso(utc(timestamp_ms / 1000)) if 0 <= timestamp_ms < _YEAR_10000_MS else f"{timestamp_ms} ms since 1970"


def between(start: datetime, end: datetime) -> float:
    """Seconds from one time to a later one, in milliseconds precision; 0 if `end` is earlier (clock skew)."""
    return 0.0 if end <= start else round((end - start).total_seconds(), 3)


def span(seconds: float) -> str:
    """A duration for display: `8 s`, `5 min`, `1 h 10 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
