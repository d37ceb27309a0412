"""How far the broker's clock is from this worker's, measured from acknowledgements.

The topics have LogAppendTime: the broker sets the timestamp of each record and returns it with the acknowledgement.
That arrives at most a little later, so of all differences between the broker's time and ours the largest is the best.
"""

from collections.abc import Callable
from time import time

from saga_app.saga.times import EARLIEST_S
from saga_app.service import metrics

#: How long a difference counts (seconds): clocks are corrected and drift, brokers change.
WINDOW_S = 60.0


def ahead_of(appended_ms: int, now_s: float) -> float | None:
    """Seconds by which the clock that wrote this timestamp is ahead of ours; None if it is not from a clock."""
    appended_s = appended_ms / 1000
    return appended_s - now_s if appended_s >= EARLIEST_S else None


class BrokerClock:
    """`observe` every acknowledgement; `ahead_s` is the difference, 0 until it is `known`.

    Where the broker does not set timestamps there is nothing to measure: the first acknowledgement says so, and the
    difference counts as known and 0.
    """

    def __init__(self, topic: str, clock: Callable[[], float] = time) -> None:
        self.topic, self.clock = topic, clock
        self.known, self.ahead_s = False, 0.0
        self._since = 0.0
        self._before = self._now = float("-inf")  #: the largest of the last window, and of this one

    def observe(self, by_broker: bool, appended_ms: int) -> None:
        """An acknowledged record: its timestamp, and whether the broker has set it."""
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
