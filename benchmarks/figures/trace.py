"""The cost of Trace Mode for the three services: bursts with an open page whose trace is on or off."""

from benchmarks import workloads
from benchmarks.context import Context
from benchmarks.goal import times_at_most
from benchmarks.our_services import CONSOLE, OurServices, StreamClient
from benchmarks.progress import Update, saga_count
from benchmarks.report import Line
from benchmarks.statistics import median_ratio
from benchmarks.testbed import running_testbed
from benchmarks.workloads import Figures

#: Bursts with each setting in one round, alternating on the same processes.
BURSTS = 3


def measure(context: Context) -> None:
    """Measure CPU time with the trace on and off."""
    rounds = context.alternate("trace", {"ours": lambda update: trial(context, update)})
    on, off = rounds.of("ours", "on"), rounds.of("ours", "off")
    context.add(
        Line(
            "CPU per 1,000 sagas, trace on",
            "s",
            rounds.median("ours", "on"),
            times_at_most(1.02),
            "trace off",
            rounds.median("ours", "off"),
            median_ratio(on, off),
        )
    )


def trial(context: Context, update: Update) -> Figures:
    """Alternate bursts with the trace off and on. Returns the CPU seconds per 1,000 sagas of each."""
    options = context.options
    count = max(500, options.sagas // 8)
    costs_s: dict[str, list[float]] = {"off": [], "on": []}
    with running_testbed() as testbed, OurServices(testbed) as ours:
        workloads.warm_up(ours, options.warm_up, saga_count(update, "warm-up", options.warm_up))
        ours.page.close()
        for number in range(BURSTS):
            for trace, measured_s in costs_s.items():
                page = StreamClient(ours.ports[CONSOLE], trace)
                name = f"{trace}{number}"
                figures = workloads.burst(ours, count, name, saga_count(update, name, count))
                measured_s.append(figures["cpu_s_per_1000"])
                page.close()
        workloads.check(ours, update)
    return {trace: sum(measured_s) / len(measured_s) for trace, measured_s in costs_s.items()}
