"""Burst, cpu and latency of this project next to each rival, with the same users, each on a fresh broker.

The goals are those of docs/explanation/performance.md.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from benchmarks import workloads
from benchmarks.context import Context, Rounds, Trial
from benchmarks.goal import Goal, at_most, times_at_least, times_at_most
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

OURS, OURS_ALONE = "ours", "ours, no console"
AIOKAFKA, AIOKAFKA_BATCHES = "aiokafka", "aiokafka, manual batches"
LIBRDKAFKA_JSON, LIBRDKAFKA_ORJSON = "librdkafka json", "librdkafka orjson"

IMPLEMENTATIONS: Mapping[str, Callable[[Testbed], Implementation]] = {
    OURS: OurServices,
    OURS_ALONE: lambda testbed: OurServices(testbed, console=False),
    AIOKAFKA: lambda testbed: RivalServices(testbed, "aiokafka_chain", "orjson"),
    AIOKAFKA_BATCHES: lambda testbed: RivalServices(testbed, "aiokafka_batches", "orjson"),
    LIBRDKAFKA_JSON: lambda testbed: RivalServices(testbed, "librdkafka_chain", "std"),
    LIBRDKAFKA_ORJSON: lambda testbed: RivalServices(testbed, "librdkafka_chain", "orjson"),
}

#: A goal for each rival with which a figure is compared; None: compared without a goal.
Goals = Mapping[str, Goal | None]

#: Without a goal.
COMPARED: Goals = dict.fromkeys((AIOKAFKA, AIOKAFKA_BATCHES, LIBRDKAFKA_JSON, LIBRDKAFKA_ORJSON))

#: The lines of each figure: title, name of the measured value, unit, and goals.
LINES: Mapping[str, tuple[tuple[str, str, str, Goals], ...]] = {
    "burst": (
        (
            "burst",
            "sagas_per_s",
            "sagas/s",
            {
                **COMPARED,
                AIOKAFKA: times_at_least(0.5),
                LIBRDKAFKA_ORJSON: times_at_least(0.25),
            },
        ),
        ("memory of the services after a burst", "memory_mib", "MiB", {AIOKAFKA: at_most(400, "MiB")}),
    ),
    "cpu": (
        (
            "CPU per 1,000 sagas",
            "cpu_s_per_1000",
            "s",
            {**COMPARED, AIOKAFKA: times_at_most(2.0)},
        ),
    ),
    "latency": (
        (f"start to end at {RATE_PER_S:g}/s, p50", "p50_ms", "ms", {**COMPARED, AIOKAFKA: times_at_most(1.2)}),
        (f"start to end at {RATE_PER_S:g}/s, p99", "p99_ms", "ms", {**COMPARED, AIOKAFKA: times_at_most(1.3)}),
        (f"CPU per 1,000 sagas at {RATE_PER_S:g}/s", "steady_cpu_s_per_1000", "s", COMPARED),
    ),
}

#: The goals for a burst without console.
ALONE_GOALS: Goals = {**COMPARED, AIOKAFKA: times_at_least(0.7)}


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
        if figure == "burst" and OURS_ALONE in trials:
            context.add(*lines(rounds, "burst without console", "sagas_per_s", "sagas/s", ALONE_GOALS, OURS_ALONE))


def lines(rounds: Rounds, title: str, value: str, unit: str, goals: Goals, ours: str = OURS) -> Iterator[Line]:
    """A line for each rival in `goals`: the measured value of both, and their ratio."""
    for rival, goal in goals.items():
        ratio = median_ratio(rounds.of(ours, value), rounds.of(rival, value))
        yield Line(title, unit, rounds.median(ours, value), goal, rival, rounds.median(rival, value), ratio)


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
