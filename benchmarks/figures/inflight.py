"""Very many sagas in flight: held, at what cost of memory, drained, and nothing lost by a kill -9 in the middle."""

import time

from benchmarks import measure
from benchmarks.context import Context, More
from benchmarks.log import NOTIFIED
from benchmarks.measure import Figures
from benchmarks.numbers import at_most
from benchmarks.ours import Ours
from benchmarks.report import Line
from benchmarks.stage import stage
from benchmarks.users import made_up
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.settings import Lag

#: The service that is killed when half of the sagas have come past it.
KILLED = "notifier"

#: Beyond the lags of three steps: a slow machine, and a limit on what a worker takes at once (seconds).
PATIENCE_S = 900.0

#: Seconds between two looks at the memory.
LOOK_S = 1.0


def measured(context: Context) -> None:
    """Ours alone."""
    lag = context.options.inflight_lag
    rounds = context.alternate("inflight", {"ours": lambda more: trial(context, lag, more)})
    name = f"{context.options.inflight:,} in flight, lag {lag}"
    limit = 3 * lag.most * 1.2
    context.add(
        Line(f"{name}: memory of the services a saga", "kB", rounds.middle("ours", "kb_per_saga"), at_most(8, "kB")),
        Line(f"{name}: all completed after", "s", rounds.middle("ours", "drained_s"), at_most(limit, "s")),
        Line(f"{name}: lost by kill -9", "", rounds.middle("ours", "lost"), at_most(0)),
    )


def trial(context: Context, lag: Lag, more: More) -> Figures:
    """A burst, a kill when half is through, and the rest."""
    count = context.options.inflight
    with stage() as on, Ours(on, lag=lag, deadline=3600) as side:
        users = made_up(count, "flight")
        marks, before = measure.mark(side), side.used()
        began = time.monotonic()
        on.sender.burst(users)
        deadline, peak, done, killed = began + 3 * lag.most + PATIENCE_S, 0, 0, False
        while done < count and time.monotonic() < deadline:
            time.sleep(LOOK_S)
            side.dead()
            peak = peak if killed else max(peak, side.used().memory_of(side.counted))
            done = on.log.since(NOTIFIED, marks.notified)
            more(f"{done:,} of {count:,} sagas through, memory {peak >> 20} MiB")
            if not killed and done > count / 2:
                killed = kill(side)
        ends = on.log.settle(marks.notified, marks.changelog, count, measure.REST_WITHIN_S, lambda _: None)
        drained_s = time.monotonic() - began
        measure.check(side, more)
        return {
            "kb_per_saga": (peak - before.memory_of(side.counted)) / count / 1000,
            "drained_s": drained_s,
            "lost": count - len(ends),
            "rows_per_saga": on.log.since(ROWS_CHANGELOG, marks.changelog) / count,
        }


def kill(side: Ours) -> bool:
    """kill -9, and a supervisor's restart."""
    side.processes[KILLED].process.kill()
    side.processes[KILLED].process.wait()
    side.launch(KILLED, KILLED, 0)
    return True
