"""Burst, cpu and latency of this project next to each rival, with the same users, each on a fresh broker."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from benchmarks import workloads
from benchmarks.context import Context, Rounds, Trial
from benchmarks.goal import Goal, times_at_least, times_at_most
from benchmarks.implementation import Implementation
from benchmarks.our_services import OurServices
from benchmarks.progress import Update, saga_count
from benchmarks.report import Line
from benchmarks.rival_services import RivalServices
from benchmarks.statistics import median_ratio
from benchmarks.testbed import Testbed, running_testbed
from benchmarks.workloads import Figures

#: The steady rate for latency, in sagas a second.
RATE_PER_S = 20.0

OURS, AIOKAFKA, AIOKAFKA_BATCHES = "ours", "aiokafka", "aiokafka, manual batches"
LIBRDKAFKA_JSON, LIBRDKAFKA_ORJSON = "librdkafka json", "librdkafka orjson"

IMPLEMENTATIONS: Mapping[str, Callable[[Testbed], Implementation]] = {
    OURS: OurServices,
    AIOKAFKA: lambda testbed: RivalServices(testbed, "aiokafka_chain", "orjson"),
    AIOKAFKA_BATCHES: lambda testbed: RivalServices(testbed, "aiokafka_batches", "orjson"),
    LIBRDKAFKA_JSON: lambda testbed: RivalServices(testbed, "librdkafka_chain", "std"),
    LIBRDKAFKA_ORJSON: lambda testbed: RivalServices(testbed, "librdkafka_chain", "orjson"),
}

#: A goal for each rival with which a figure is compared; None: compared without a goal.
Goals = Mapping[str, Goal | None]

LATENCY_GOALS: Goals = {
    AIOKAFKA: times_at_most(0.7),
    AIOKAFKA_BATCHES: None,
    LIBRDKAFKA_JSON: None,
    LIBRDKAFKA_ORJSON: None,
}

#: The lines of each figure: title, name of the measured value, unit, and goals.
LINES: Mapping[str, tuple[tuple[str, str, str, Goals], ...]] = {
    "burst": (
        (
            "burst",
            "sagas_per_s",
            "sagas/s",
            {
                AIOKAFKA: times_at_least(1.5),
                AIOKAFKA_BATCHES: None,
                LIBRDKAFKA_JSON: times_at_least(1.0),
                LIBRDKAFKA_ORJSON: times_at_least(0.65),
            },
        ),
        ("memory of the services after a burst", "memory_mib", "MiB", {AIOKAFKA: None}),
    ),
    "cpu": (
        (
            "CPU per 1,000 sagas",
            "cpu_s_per_1000",
            "s",
            {
                AIOKAFKA: times_at_most(0.8),
                AIOKAFKA_BATCHES: None,
                LIBRDKAFKA_JSON: None,
                LIBRDKAFKA_ORJSON: None,
            },
        ),
    ),
    "latency": (
        (f"start to end at {RATE_PER_S:g}/s, p50", "p50_ms", "ms", LATENCY_GOALS),
        (f"start to end at {RATE_PER_S:g}/s, p99", "p99_ms", "ms", LATENCY_GOALS),
        (f"CPU per 1,000 sagas at {RATE_PER_S:g}/s", "steady_cpu_s_per_1000", "s", dict.fromkeys(LATENCY_GOALS)),
    ),
}


def measure(context: Context, only: Iterable[str], implementations: Iterable[str] = IMPLEMENTATIONS) -> None:
    """Measure those of the three figures that are in `only`, for these implementations."""
    figures = [name for name in LINES if name in only]
    if not figures:
        return
    trials = {name: trial(context, IMPLEMENTATIONS[name], figures) for name in implementations}
    rounds = context.alternate("+".join(figures), trials)
    for figure in figures:
        for title, value, unit, goals in LINES[figure]:
            measured_goals = {rival: goals[rival] for rival in goals if rival in trials}
            context.add(*lines(rounds, title, value, unit, measured_goals))


def lines(rounds: Rounds, title: str, value: str, unit: str, goals: Goals) -> Iterator[Line]:
    """A line for each rival in `goals`: the measured value of both, and their ratio."""
    ours = rounds.of(OURS, value)
    for rival, goal in goals.items():
        ratio = median_ratio(ours, rounds.of(rival, value))
        yield Line(title, unit, rounds.median(OURS, value), goal, rival, rounds.median(rival, value), ratio)


def trial(context: Context, create: Callable[[Testbed], Implementation], figures: Iterable[str]) -> Trial:
    """A trial of one implementation: a warm-up, the workloads that the figures need, and a check of the result."""
    options = context.options

    def run(update: Update) -> Figures:
        with running_testbed() as testbed, create(testbed) as implementation:
            measured = workloads.warm_up(
                implementation, options.warm_up, saga_count(update, "warm-up", options.warm_up)
            )
            if "burst" in figures or "cpu" in figures:
                show_count = saga_count(update, "burst", options.sagas)
                measured |= workloads.burst(implementation, options.sagas, "burst", show_count)
            if "latency" in figures:
                show_count = saga_count(update, "steady", int(RATE_PER_S * options.seconds))
                measured |= workloads.steady(implementation, RATE_PER_S, options.seconds, "steady", show_count)
            workloads.check(implementation, update)
            return measured

    return run
