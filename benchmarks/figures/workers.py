"""A burst with two workers of each service, beside one: on few cores no loss, on many a gain."""

from benchmarks import measure
from benchmarks.context import Context, More, Trial
from benchmarks.measure import Figures
from benchmarks.numbers import ratios, times_at_least
from benchmarks.ours import Ours
from benchmarks.progress import counting
from benchmarks.report import Line
from benchmarks.stage import stage

#: No loss, as far as this can be told from noise.
NO_LOSS = 0.95


def measured(context: Context) -> None:
    """One and two, in turn."""
    rounds = context.alternate("workers", {name: trial(context, n) for name, n in (("one", 1), ("two", 2))})
    one, two = rounds.of("one", "sagas_per_s"), rounds.of("two", "sagas_per_s")
    context.add(
        Line(
            "burst, two workers of each",
            "sagas/s",
            rounds.middle("two", "sagas_per_s"),
            times_at_least(NO_LOSS),
            "one of each",
            rounds.middle("one", "sagas_per_s"),
            ratios(two, one),
        )
    )


def trial(context: Context, workers: int) -> Trial:
    """With so many of each."""
    options = context.options

    def run(more: More) -> Figures:
        with stage() as on, Ours(on, workers) as side:
            found = measure.warm(side, options.warm, counting(more, "warm-up", options.warm))
            found |= measure.burst(side, options.sagas, "burst", counting(more, "burst", options.sagas))
            measure.check(side, more)
            return found

    return run
