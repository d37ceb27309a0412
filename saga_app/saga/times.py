"""Times on the wire: ISO 8601 in UTC with milliseconds, which also sort as text.

Conversions are cached: under load many records share a millisecond, and each time is parsed several times.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

#: Kafka records have timestamps since 2016. An earlier one is zero, in another unit, or from a clock that was not set.
EARLIEST_S = 1_451_606_400.0

_YEAR_10000_MS = 253_402_300_800_000


def iso(seconds: float) -> str:
    """`2026-11-23T12:00:00.123Z` for seconds since 1970 (UTC)."""
    return _text(round(seconds * 1_000_000) // 1000)


@lru_cache(maxsize=1024)
def _text(milliseconds: int) -> str:
    whole, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(whole, UTC).isoformat()[:19]}.{rest:03d}Z"


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
    return iso(timestamp_ms / 1000) if 0 <= timestamp_ms < _YEAR_10000_MS else f"{timestamp_ms} ms since 1970"


@lru_cache(maxsize=4096)
def epoch(time: str) -> float:
    """Seconds since 1970 (UTC) for a `messages.Time`. February 30 is read as March 2."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        first = datetime.fromisoformat(f"{time[:8]}01{time[10:]}")
        return (first + timedelta(days=int(time[8:10]) - 1)).timestamp()


def between(start: str, end: str) -> float:
    """Seconds from one ISO time to a later one, in milliseconds precision; 0 if `end` is earlier (clock skew)."""
    return max(0.0, round(epoch(end) - epoch(start), 3))


def span(seconds: float) -> str:
    """A duration for display: `8 s`, `5 min`, `1 h 10 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
