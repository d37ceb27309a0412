"""How fast the console's index takes in what has happened, in a process of its own."""

import time

from benchmarks import measure
from benchmarks.context import Context, More
from benchmarks.measure import Figures
from benchmarks.numbers import at_least
from benchmarks.ours import CONSOLE, Ours
from benchmarks.progress import counting
from benchmarks.report import Line
from benchmarks.stage import stage
from tests.wait import until

#: How long it may take (seconds); between two looks.
WITHIN_S, LOOK_S = 180.0, 0.02


def measured(context: Context) -> None:
    """Sagas whose records all stand in the topics, read by a console that starts with no index."""
    rounds = context.alternate("console", {"ours": lambda more: trial(context, more)})
    context.add(
        Line("console: sagas indexed", "sagas/s", rounds.middle("ours", "sagas_per_s"), at_least(2000, "sagas/s"))
    )


def trial(context: Context, more: More) -> Figures:
    """From its first answer to an index that is up to date; nobody else runs."""
    count = context.options.sagas
    with stage() as on, Ours(on, console=False) as side:
        measure.burst(side, count, "burst", counting(more, "burst", count))
        side.end()
        side.processes.clear()
        more("reading")
        side.launch(CONSOLE, CONSOLE, 0)
        until(lambda: side.answers(CONSOLE, "/health/live"), WITHIN_S, "the console does not answer", LOOK_S)
        began, before = time.monotonic(), side.used()
        side.wait_until_ready(CONSOLE, WITHIN_S, LOOK_S)
        took_s = time.monotonic() - began
        cpu_s = side.used().cpu_since(before, [CONSOLE])
        measure.check(side, more)
        return {"sagas_per_s": count / took_s, "took_s": took_s, "cpu_ms_per_saga": cpu_s / count * 1000}
