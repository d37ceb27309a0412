"""Measures the offset between the broker's clock and the local clock from acknowledgements.

The topics have LogAppendTime: the broker sets the timestamp of each record and returns it with the acknowledgement.
Network delay only reduces the measured difference, so the largest of all recent differences is the most accurate.
"""

from collections.abc import Callable
from time import time

from saga_app.saga.times import EARLIEST_S
from saga_app.service import metrics

#: How long a measurement is used (seconds), because clocks drift or are corrected, and brokers change.
WINDOW_S = 60.0


def ahead_of(appended_ms: int, now_s: float) -> float | None:
    """Seconds by which the clock that wrote a timestamp is ahead of the local clock; None if it is implausible."""
    appended_s = appended_ms / 1000
    return appended_s - now_s if appended_s >= EARLIEST_S else None


class BrokerClock:
    """The offset of the broker's clock. Call `observe()` for every acknowledgement.

    `ahead_s`: the offset in seconds, 0 until it is `known`. If the broker does not set timestamps, the first
    acknowledgement shows that, and the offset is known to be 0. `clock`: returns seconds since 1970 (UTC).
    """

    def __init__(self, topic: str, clock: Callable[[], float] = time) -> None:
        self.topic, self.clock = topic, clock
        self.known, self.ahead_s = False, 0.0
        self._since = 0.0
        self._before = self._now = float("-inf")  #: the largest offset of the last window and of this one

    def observe(self, by_broker: bool, appended_ms: int) -> None:
        """Measure with an acknowledged record: its timestamp in milliseconds, and whether the broker has set it."""
        now = self.clock()
        ahead = ahead_of(appended_ms, now) if by_broker else None
        self.known = True
        if ahead is None:
            return
        if not 0 <= (age := now - self._since) < WINDOW_S:
            self._before = self._now if 0 <= age < 2 * WINDOW_S else float("-inf")
            self._since, self._now = now, ahead
        self._now = max(self._now, ahead)
        self.ahead_s = max(self._before, self._now)
        metrics.BROKER_AHEAD.labels(self.topic).set(round(self.ahead_s, 3))
