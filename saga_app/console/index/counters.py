"""What is counted while records are read: sagas by state and step, endings, delays. Kept up, never recounted."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from saga_app.active_plan import PLAN
from saga_app.saga.messages import ENDED, Row
from saga_app.saga.times import between, epoch

STATES = ("running", "completed", "rolling-back", "rolled-back", "parked", "rollback-incomplete")

#: How far back rates and delays look (seconds), and how many endings the durations cover at least.
WINDOW_S, DURATIONS = 10.0, 500

STEPS = tuple(step.name for step in PLAN.all_steps)


class Window:
    """Values with their times; the old ones drop out."""

    def __init__(self, keep: int = 0, most: int = 50_000) -> None:
        self.keep = keep
        self.values: deque[tuple[float, float]] = deque(maxlen=most)

    def add(self, now: float, value: float = 0.0) -> None:
        """One more."""
        self.values.append((now, value))

    def expire(self, now: float) -> None:
        """Forget what is older than the window, but keep the latest few if so asked."""
        while len(self.values) > self.keep and self.values[0][0] < now - WINDOW_S:
            self.values.popleft()

    def rate(self) -> float:
        """Values a second."""
        return round(len(self.values) / WINDOW_S, 1)

    def percentiles(self) -> dict[str, float | None]:
        """The middle one, and the one that 99 of 100 are below."""
        ordered = sorted(value for _, value in self.values)
        if not ordered:
            return {"p50": None, "p99": None}
        pick = {p: ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] for p in (50, 99)}
        return {f"p{p}": round(value, 3) for p, value in pick.items()}


class Figures:
    """Told of every change of a row."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = Counter(counts)
        self.overdue: set[str] = set()
        self.parked: set[str] = set()
        #: By step, who waits for it and since when; in the order in which they came, so that the slowest is the first.
        self.waiting: dict[str, dict[str, str]] = {step: {} for step in STEPS}
        self.passed: dict[str, Window] = {step: Window() for step in STEPS}
        self.ended, self.durations, self.delays = Window(), Window(keep=DURATIONS), Window(most=5000)

    def restore(self, row: Row) -> None:
        """A row from the index that has not ended; it is among the counts already."""
        self._enter(row)

    def moved(self, before: Row | None, row: Row, now: float) -> None:
        """A row has changed."""
        if before is not None and (before.state, before.step) == (row.state, row.step):
            return self._mark(row)
        if before is not None:
            self.counts[before.state] -= 1
            self._leave(before)
            if before.step != row.step and before.step in self.passed:
                self.passed[before.step].add(now)
        self.counts[row.state] += 1
        if row.state in ENDED:
            self._end(row, now)
        else:
            self._enter(row)
        return None

    def _mark(self, row: Row) -> None:
        if row.overdue and row.state not in ENDED:
            self.overdue.add(row.id)
        if row.state == "parked":
            self.parked.add(row.id)

    def _end(self, row: Row, now: float) -> None:
        if row.step in self.passed:
            self.passed[row.step].add(now)
        ended_at = row.ended_at or row.updated_at
        self.durations.add(now, between(row.started_at, ended_at))
        if epoch(ended_at) > now - WINDOW_S:  # what is only read anew is no rate
            self.ended.add(epoch(ended_at))

    def _enter(self, row: Row) -> None:
        self._mark(row)
        if row.state != "parked" and row.step in self.waiting:
            self.waiting[row.step].setdefault(row.id, row.updated_at)

    def _leave(self, row: Row) -> None:
        self.overdue.discard(row.id)
        self.parked.discard(row.id)
        if row.step in self.waiting:
            self.waiting[row.step].pop(row.id, None)

    def delayed(self, now: float, seconds: Iterable[float]) -> None:
        """How long records took from the log to here."""
        for delay in seconds:
            self.delays.add(now, max(0.0, delay))

    def snapshot(self, now: float) -> dict[str, Any]:
        """For `/api/stats`. `now` is seconds since 1970."""
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
        slowest = max(0.0, round(now - epoch(since), 1)) if since else 0.0
        return {"waiting": len(self.waiting[step]), "rate": self.passed[step].rate(), "slowest": slowest}
