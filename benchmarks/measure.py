"""One measurement of one side: a warm-up, then a burst or a steady rate."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.log import NOTIFIED
from benchmarks.meter import MIB
from benchmarks.numbers import percentile
from benchmarks.side import Side
from benchmarks.users import NEW_USER, made_up
from saga_app.active_plan import ROWS_CHANGELOG

#: How long a burst may take before it is given up (seconds), and likewise what follows a steady rate.
BURST_WITHIN_S, REST_WITHIN_S = 240.0, 60.0

#: Told how many sagas have come how far.
Said = Callable[[int], None]

Figures = dict[str, Any]


@dataclass(frozen=True)
class Marks:
    """Where the topics ended before it began."""

    new_user: dict[int, int]
    notified: dict[int, int]
    changelog: dict[int, int]


def mark(side: Side) -> Marks:
    """Now."""
    log = side.stage.log
    return Marks(log.mark(NEW_USER), log.mark(NOTIFIED), log.mark(ROWS_CHANGELOG))


def warm(side: Side, count: int, said: Said) -> Figures:
    """A burst that does not count."""
    return {"warm_sagas_per_s": burst(side, count, "warm", said)["sagas_per_s"]}


def check(side: Side, more: Callable[[str], None]) -> None:
    """Raises when something must be held against the run."""
    more("checking")
    if problem := side.problem():
        raise RuntimeError(problem)


def burst(side: Side, count: int, name: str, said: Said) -> Figures:
    """All at once: sagas/s from the first user sent to the last row appended; cost of the services a 1,000 sagas."""
    users = made_up(count, name)
    marks, before = mark(side), side.used()
    began = time.time()
    side.stage.sender.burst(users)
    ends = side.stage.log.settle(marks.notified, marks.changelog, count, BURST_WITHIN_S, said)
    used = side.used()
    took_s = max(ends.values()) / 1000 - began
    return {
        "sagas_per_s": count / took_s,
        "took_s": took_s,
        "rows_per_saga": side.stage.log.since(ROWS_CHANGELOG, marks.changelog) / count,
        "cpu_s_per_1000": used.cpu_since(before, side.counted) / count * 1000,
        "cpu_ms_per_saga": {name: used.cpu_since(before, [name]) / count * 1000 for name in used.cpu_s},
        "memory_mib": used.memory_of(side.counted) / MIB,
    }


def steady(side: Side, per_s: float, seconds: float, name: str, said: Said) -> Figures:
    """So many a second: from a user's record to its row's last one, both by the broker's clock (milliseconds)."""
    count = int(per_s * seconds)
    users = made_up(count, name)
    marks, before = mark(side), side.used()
    side.stage.sender.steady(users, per_s, said)
    ends = side.stage.log.settle(marks.notified, marks.changelog, count, REST_WITHIN_S, said)
    used = side.used()
    starts = side.stage.log.times(NEW_USER, marks.new_user)
    took = [ends[id] - start for id, start in starts.items()]
    return {
        "p50_ms": percentile(took, 50),
        "p99_ms": percentile(took, 99),
        "steady_cpu_s_per_1000": used.cpu_since(before, side.counted) / count * 1000,
        "starts": starts,
        "ends": ends,
    }
