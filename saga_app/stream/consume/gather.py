"""Decides how long to gather records before they are taken.

Each fetch wakes three threads, and its records are handled together. So while many records arrive, they are taken at
intervals; while few arrive, each is taken at once.
"""

#: The interval, and the rate above which records are gathered (seconds, records a second).
INTERVAL_S, GATHER_ABOVE = 0.02, 100.0

#: The time over which the rate is measured (seconds).
WINDOW_S = 1.0


class Gather:
    """The intervals of one client. Times are those of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._next_at = self._window_began_at = 0.0
        self._count, self._is_busy = 0, False

    def pause_s(self, now: float) -> float:
        """How long to wait after a record has arrived before all available records are taken; at most `INTERVAL_S`."""
        return max(0.0, self._next_at - now) if self._is_busy else 0.0

    def took(self, count: int, now: float) -> None:
        """Count the records that were taken."""
        self._next_at = now + INTERVAL_S
        self._count += count
        elapsed = now - self._window_began_at
        if elapsed >= WINDOW_S:
            self._is_busy = self._count / elapsed > GATHER_ABOVE
            self._window_began_at, self._count = now, 0
