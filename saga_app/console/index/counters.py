"""Statistics, updated incrementally while records are read: sagas by state and step, throughput, delays."""

from collections import Counter, deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from saga_app.active_plan import PLAN
from saga_app.saga.messages import Row
from saga_app.saga.states import ENDED_STATES, STATES
from saga_app.saga.times import between

#: Window of rates and delays (seconds), and minimum number of ended sagas for the percentiles of durations.
WINDOW_S, DURATIONS = 10.0, 500

STEPS = tuple(step.name for step in PLAN.all_steps)


class Window:
    """A sliding window of timed values.

    `keep`: number of latest values that do not expire; `most`: maximum number of values.
    """

    def __init__(self, keep: int = 0, most: int = 50_000) -> None:
        self.keep = keep
        self.values: deque[tuple[float, float]] = deque(maxlen=most)

    def add(self, now: float, value: float = 0.0) -> None:
        """Add a value. `now`: seconds since 1970."""
        self.values.append((now, value))

    def expire(self, now: float) -> None:
        """Remove values older than the window, except for the latest `keep`."""
        while len(self.values) > self.keep and self.values[0][0] < now - WINDOW_S:
            self.values.popleft()

    def rate(self) -> float:
        """Values per second."""
        return round(len(self.values) / WINDOW_S, 1)

    def percentiles(self) -> dict[str, float | None]:
        """The values p50 and p99; None if there are no values."""
        ordered = sorted(value for _, value in self.values)
        if not ordered:
            return {"p50": None, "p99": None}
        pick = {p: ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] for p in (50, 99)}
        return {f"p{p}": round(value, 3) for p, value in pick.items()}


class Figures:
    """The statistics. `counts`: initial number of sagas by state."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = Counter(counts)
        self.overdue: set[str] = set()
        self.parked: set[str] = set()
        #: By step: the sagas that wait for it, and since when; in order of arrival, so the first has waited longest.
        self.waiting: dict[str, dict[str, datetime]] = {step: {} for step in STEPS}
        self.passed: dict[str, Window] = {step: Window() for step in STEPS}
        self.ended, self.durations, self.delays = Window(), Window(keep=DURATIONS), Window(most=5000)

    def restore(self, row: Row) -> None:
        """Add an unfinished row from the index, which `counts` already includes."""
        self._enter(row)

    def row_changed(self, before: Row | None, row: Row, now: float) -> None:
        """Update the statistics after a row has changed; `before` is None for a new saga."""
        if before is not None and (before.state, before.step) == (row.state, row.step):
            return self._mark(row)
        if before is not None:
            self.counts[before.state] -= 1
            self._leave(before)
            if before.step != row.step and before.step in self.passed:
                self.passed[before.step].add(now)
        self.counts[row.state] += 1
        if row.state in ENDED_STATES:
            self._end(row, now)
        else:
            self._enter(row)
        return None

    def _mark(self, row: Row) -> None:
        if row.overdue and row.state not in ENDED_STATES:
            self.overdue.add(row.id)
        if row.state == "parked":
            self.parked.add(row.id)

    def _end(self, row: Row, now: float) -> None:
        if row.step in self.passed:
            self.passed[row.step].add(now)
        ended_at = row.ended_at or row.updated_at
        self.durations.add(now, between(row.started_at, ended_at))
        if ended_at.timestamp() > now - WINDOW_S:  # old records that are read during a rebuild do not count
            self.ended.add(ended_at.timestamp())

    def _enter(self, row: Row) -> None:
        self._mark(row)
        if row.state != "parked" and row.step in self.waiting:
            self.waiting[row.step].setdefault(row.id, row.updated_at)

    def _leave(self, row: Row) -> None:
        self.overdue.discard(row.id)
        self.parked.discard(row.id)
        if row.step in self.waiting:
            self.waiting[row.step].pop(row.id, None)

    def add_delays(self, now: float, seconds: Iterable[float]) -> None:
        """Add delays of records from the broker's log to the console (seconds)."""
        for delay in seconds:
            self.delays.add(now, max(0.0, delay))

    def snapshot(self, now: float) -> dict[str, Any]:
        """The statistics for `/api/stats`. `now`: seconds since 1970."""
        for window in (self.ended, self.durations, self.delays, *self.passed.values()):
            window.expire(now)
        return {
            "counts": {state: self.counts[state] for state in STATES},
            "overdue": len(self.overdue),
            "trouble": len(self.overdue | self.parked) + self.counts["rollback-incomplete"],
            "in_flight": self.counts["running"] + self.counts["rolling-back"],
            "rate": self.ended.rate(),
            "duration": self.durations.percentiles(),
            "delay": self.delays.percentiles(),
            "steps": {step: self._step(step, now) for step in STEPS},
        }

    def _step(self, step: str, now: float) -> dict[str, Any]:
        since = next(iter(self.waiting[step].values()), None)
        slowest = max(0.0, round(now - since.timestamp(), 1)) if since else 0.0
        return {"waiting": len(self.waiting[step]), "rate": self.passed[step].rate(), "slowest": slowest}
