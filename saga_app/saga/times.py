"""Times on the wire: ISO 8601 in UTC with milliseconds, which also sort as text.

Under load many records share a second or a millisecond, and each time is read several times: hence the caches.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

#: Kafka's records carry timestamps since 2016. An earlier one is zero, in other units, or of a clock that was not set.
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
    """The time of a record, as far as its timestamp can be believed, in seconds since 1970.

    `timestamp_ms` may be any integer: a client or a broker with a wrong clock has written it. `ahead_s` is how far the
    clock that wrote it is known to be ahead of ours. The result is never later than `now_s`; a timestamp that is
    missing (-1), before `EARLIEST_S` or in the future counts as now.
    """
    seconds = timestamp_ms / 1000 - ahead_s
    return seconds if EARLIEST_S <= seconds <= now_s else now_s


def timestamp_text(timestamp_ms: int) -> str:
    """A record's timestamp for people, as it is: ISO 8601 if it is a year that ISO 8601 can write, else the number."""
    return iso(timestamp_ms / 1000) if 0 <= timestamp_ms < _YEAR_10000_MS else f"{timestamp_ms} ms since 1970"


@lru_cache(maxsize=4096)
def epoch(time: str) -> float:
    """Seconds since 1970 (UTC) for a `messages.Time`: what it calls the 30th of February is the 2nd of March."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        first = datetime.fromisoformat(f"{time[:8]}01{time[10:]}")
        return (first + timedelta(days=int(time[8:10]) - 1)).timestamp()


def between(start: str, end: str) -> float:
    """Seconds from one ISO time to a later one, to the millisecond; 0 if the clocks that wrote them disagree."""
    return max(0.0, round(epoch(end) - epoch(start), 3))


def span(seconds: float) -> str:
    """A length of time for a person: `8 s`, `5 min`, `1 h 10 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
