"""A burst with two workers of each service next to one: no loss on few cores, a gain on many."""

from benchmarks import workloads
from benchmarks.context import Context, Trial
from benchmarks.goal import times_at_least
from benchmarks.our_services import OurServices
from benchmarks.progress import Update, saga_count
from benchmarks.report import Line
from benchmarks.statistics import median_ratio
from benchmarks.testbed import running_testbed
from benchmarks.workloads import Figures

#: The ratio that counts as no loss, given the noise of the measurement.
NO_LOSS = 0.95


def measure(context: Context) -> None:
    """Measure a burst with one and with two workers of each service."""
    rounds = context.alternate("workers", {name: trial(context, n) for name, n in (("one", 1), ("two", 2))})
    one, two = rounds.of("one", "sagas_per_s"), rounds.of("two", "sagas_per_s")
    context.add(
        Line(
            "burst, two workers of each service",
            "sagas/s",
            rounds.median("two", "sagas_per_s"),
            times_at_least(NO_LOSS),
            "one of each",
            rounds.median("one", "sagas_per_s"),
            median_ratio(two, one),
        )
    )


def trial(context: Context, workers: int) -> Trial:
    """A burst with this number of workers of each service."""
    options = context.options

    def run(update: Update) -> Figures:
        with running_testbed() as testbed, OurServices(testbed, workers) as ours:
            figures = workloads.warm_up(ours, options.warm_up, saga_count(update, "warm-up", options.warm_up))
            show_count = saga_count(update, "burst", options.sagas)
            figures |= workloads.burst(ours, options.sagas, "burst", show_count)
            workloads.check(ours, update)
            return figures

    return run
