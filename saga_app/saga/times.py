"""Times on the wire: ISO 8601 in UTC with milliseconds, which also sort as text."""

from datetime import UTC, datetime
from functools import lru_cache


def iso(seconds: float) -> str:
    """`2026-11-23T12:00:00.123Z` for seconds since 1970 (UTC)."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{micros // 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(whole: int) -> str:
    """All but the fraction; several thousand times are told a second."""
    return datetime.fromtimestamp(whole, UTC).isoformat()[:19]


def epoch(time: str) -> float:
    """Seconds since 1970 (UTC) for an ISO time."""
    return datetime.fromisoformat(time).timestamp()


def between(start: str, end: str) -> float:
    """Seconds from one ISO time to another, to the millisecond."""
    return round(epoch(end) - epoch(start), 3)
