"""This project next to another commit of itself: bursts, and a steady rate with lags, in alternating rounds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from benchmarks import other_commit, workloads
from benchmarks.context import Context, Rounds, Trial
from benchmarks.figures import overhead
from benchmarks.goal import Goal, times_at_most
from benchmarks.our_services import CONSOLE, OurServices
from benchmarks.progress import Update, saga_count
from benchmarks.report import Line
from benchmarks.statistics import median_ratio
from benchmarks.testbed import Testbed, running_testbed
from benchmarks.workloads import Figures

BROKER = "broker"

#: Title, name of the measured value, unit, and goal of a line.
LineOf = tuple[str, str, str, Goal | None]

#: The lines for bursts.
BURST_LINES: Sequence[LineOf] = (
    ("burst", "sagas_per_s", "sagas/s", None),
    ("CPU per 1,000 sagas", "cpu_s_per_1000", "s", None),
    ("CPU of the broker per saga", f"{BROKER}_cpu_ms", "ms", times_at_most(0.5)),
    ("CPU of the console per saga", f"{CONSOLE}_cpu_ms", "ms", None),
    ("memory of the services after a burst", "memory_mib", "MiB", None),
)

#: The lines for a steady rate with lags.
STEADY_LINES: Sequence[LineOf] = (
    (f"CPU per 1,000 sagas at {overhead.RATE_PER_S:g}/s with lags", "steady_cpu_s_per_1000", "s", times_at_most(0.5)),
    (f"engine overhead at {overhead.RATE_PER_S:g}/s, p99", "overhead_p99_ms", "ms", None),
)


def measure(context: Context) -> None:
    """Measure both figures next to the commit in the options."""
    with context.progress.task(f"checking out {context.options.against}"):
        other = other_commit.checkout(context.options.against)
    sides: Mapping[str, Callable[..., OurServices]] = {
        "ours": OurServices,
        other.name: lambda testbed, **settings: OurServices(testbed, root=other.root, python=other.python, **settings),
    }
    bursts = {name: burst_trial(context, create) for name, create in sides.items()}
    context.add(*lines(context.alternate("against: burst", bursts), other.name, BURST_LINES))
    steady = {name: steady_trial(context, create) for name, create in sides.items()}
    context.add(*lines(context.alternate("against: steady", steady), other.name, STEADY_LINES))


def lines(rounds: Rounds, other: str, wanted: Iterable[LineOf]) -> Iterator[Line]:
    """The wanted lines, each with both values and their ratio."""
    for title, value, unit, goal in wanted:
        ratio = median_ratio(rounds.of("ours", value), rounds.of(other, value))
        yield Line(title, unit, rounds.median("ours", value), goal, other, rounds.median(other, value), ratio)


def burst_trial(context: Context, create: Callable[[Testbed], OurServices]) -> Trial:
    """A burst on a fresh broker, after a warm-up."""
    options = context.options

    def run(update: Update) -> Figures:
        with running_testbed() as testbed, create(testbed) as services:
            workloads.warm_up(services, options.warm_up, saga_count(update, "warm-up", options.warm_up))
            figures = workloads.burst(services, options.sagas, "burst", saga_count(update, "burst", options.sagas))
            workloads.check(services, update)
        of_process = figures["cpu_ms_per_saga"]
        return figures | {f"{name}_cpu_ms": of_process[name] for name in (BROKER, CONSOLE)}

    return run


def steady_trial(context: Context, create: Callable[..., OurServices]) -> Trial:
    """The trial of the figure `overhead`."""
    return lambda update: overhead.trial(context, update, create)
