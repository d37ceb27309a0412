"""Times on the wire: ISO 8601 in UTC with milliseconds, which also sort as text."""

from datetime import UTC, datetime


def iso(seconds: float) -> str:
    """`2026-11-23T12:00:00.123Z` for seconds since 1970 (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def epoch(time: str) -> float:
    """Seconds since 1970 (UTC) for an ISO time."""
    return datetime.fromisoformat(time).timestamp()


def between(start: str, end: str) -> float:
    """Seconds from one ISO time to another, to the millisecond."""
    return round(epoch(end) - epoch(start), 3)
