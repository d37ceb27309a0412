"""Times on the wire: ISO 8601 in UTC with milliseconds, which also sort as text.

Under load many records share a second or a millisecond, and each time is read several times: hence the caches.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache


def iso(seconds: float) -> str:
    """`2026-11-23T12:00:00.123Z` for seconds since 1970 (UTC)."""
    return _text(round(seconds * 1_000_000) // 1000)


@lru_cache(maxsize=1024)
def _text(milliseconds: int) -> str:
    whole, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(whole, UTC).isoformat()[:19]}.{rest:03d}Z"


@lru_cache(maxsize=4096)
def epoch(time: str) -> float:
    """Seconds since 1970 (UTC) for a `messages.Time`: what it calls the 30th of February is the 2nd of March."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        first = datetime.fromisoformat(f"{time[:8]}01{time[10:]}")
        return (first + timedelta(days=int(time[8:10]) - 1)).timestamp()


def between(start: str, end: str) -> float:
    """Seconds from one ISO time to another, to the millisecond."""
    return round(epoch(end) - epoch(start), 3)
