"""What Trace Mode costs the three services: the same bursts with a page whose trace is on, and one where it is off."""

from benchmarks import measure
from benchmarks.context import Context, More
from benchmarks.measure import Figures
from benchmarks.numbers import ratios, times_at_most
from benchmarks.ours import CONSOLE, Ours, Page
from benchmarks.progress import counting
from benchmarks.report import Line
from benchmarks.stage import stage

#: Bursts with each in one round, in turn on the same processes.
TURNS = 3


def measured(context: Context) -> None:
    """The ratio of what both have cost."""
    rounds = context.alternate("trace", {"ours": lambda more: trial(context, more)})
    on, off = rounds.of("ours", "on"), rounds.of("ours", "off")
    context.add(
        Line(
            "CPU a 1,000 sagas, trace on",
            "s",
            rounds.middle("ours", "on"),
            times_at_most(1.02),
            "trace off",
            rounds.middle("ours", "off"),
            ratios(on, off),
        )
    )


def trial(context: Context, more: More) -> Figures:
    """Off, on, off, on: CPU seconds a 1,000 sagas of each."""
    count = max(500, context.options.sagas // 8)
    costs: dict[str, list[float]] = {"off": [], "on": []}
    with stage() as on, Ours(on) as side:
        measure.warm(side, context.options.warm, counting(more, "warm-up", context.options.warm))
        side.page_open.close()
        for turn in range(TURNS):
            for trace, spent in costs.items():
                page = Page(side.ports[CONSOLE], trace)
                name = f"{trace}{turn}"
                spent.append(measure.burst(side, count, name, counting(more, name, count))["cpu_s_per_1000"])
                page.close()
        measure.check(side, more)
    return {trace: sum(spent) / len(spent) for trace, spent in costs.items()}
