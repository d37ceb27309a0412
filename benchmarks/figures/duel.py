"""Burst, cpu and latency: ours beside each rival, the same users on a fresh broker each."""

from collections.abc import Callable, Iterable, Mapping

from benchmarks import measure
from benchmarks.context import Context, More, Rounds, Trial
from benchmarks.measure import Figures
from benchmarks.numbers import Goal, ratios, times_at_least, times_at_most
from benchmarks.ours import Ours
from benchmarks.progress import counting
from benchmarks.report import Line
from benchmarks.rival import Rival
from benchmarks.side import Side
from benchmarks.stage import Stage, stage

#: Steady sagas a second.
RATE = 20.0

OURS, AIOKAFKA, BATCHES = "ours", "aiokafka", "aiokafka, batches by hand"
JSON, ORJSON = "librdkafka json", "librdkafka orjson"

SIDES: Mapping[str, Callable[[Stage], Side]] = {
    OURS: Ours,
    AIOKAFKA: lambda stage: Rival(stage, "aiokafka_chain", "orjson"),
    BATCHES: lambda stage: Rival(stage, "aiokafka_batches", "orjson"),
    JSON: lambda stage: Rival(stage, "librdkafka_chain", "std"),
    ORJSON: lambda stage: Rival(stage, "librdkafka_chain", "orjson"),
}

LATENCIES: Mapping[str, Goal | None] = {AIOKAFKA: times_at_most(0.7), BATCHES: None, JSON: None, ORJSON: None}

#: Figure, its name in a round, its unit, and the goal beside each rival.
LINES: Mapping[str, tuple[tuple[str, str, str, Mapping[str, Goal | None]], ...]] = {
    "burst": (
        (
            "burst",
            "sagas_per_s",
            "sagas/s",
            {AIOKAFKA: times_at_least(1.5), BATCHES: None, JSON: times_at_least(1.0), ORJSON: times_at_least(0.65)},
        ),
        ("memory of the services after it", "memory_mib", "MiB", {AIOKAFKA: None}),
    ),
    "cpu": (
        (
            "CPU a 1,000 sagas",
            "cpu_s_per_1000",
            "s",
            {AIOKAFKA: times_at_most(0.8), BATCHES: None, JSON: None, ORJSON: None},
        ),
    ),
    "latency": (
        (f"start to end at {RATE:g}/s, p50", "p50_ms", "ms", LATENCIES),
        (f"start to end at {RATE:g}/s, p99", "p99_ms", "ms", LATENCIES),
        (f"CPU a 1,000 sagas at {RATE:g}/s", "steady_cpu_s_per_1000", "s", dict.fromkeys(LATENCIES)),
    ),
}


def measured(context: Context, chosen: Iterable[str], sides: Iterable[str] = SIDES) -> None:
    """Whichever of the three are chosen."""
    wanted = [name for name in LINES if name in chosen]
    if not wanted:
        return
    rounds = context.alternate("+".join(wanted), {side: trial(context, SIDES[side], wanted) for side in sides})
    for name in wanted:
        for figure, key, unit, goals in LINES[name]:
            context.add(*lines(rounds, figure, key, unit, {side: goals[side] for side in goals if side in sides}))


def lines(rounds: Rounds, figure: str, key: str, unit: str, goals: Mapping[str, Goal | None]) -> Iterable[Line]:
    """A line for each rival."""
    ours = rounds.of(OURS, key)
    for rival, goal in goals.items():
        theirs = rounds.of(rival, key)
        relative = ratios(ours, theirs)
        yield Line(figure, unit, rounds.middle(OURS, key), goal, rival, rounds.middle(rival, key), relative)


def trial(context: Context, make: Callable[[Stage], Side], wanted: Iterable[str]) -> Trial:
    """A side from a fresh broker to the check of what came of it."""
    options = context.options

    def run(more: More) -> Figures:
        with stage() as on, make(on) as side:
            found = measure.warm(side, options.warm, counting(more, "warm-up", options.warm))
            if "burst" in wanted or "cpu" in wanted:
                found |= measure.burst(side, options.sagas, "burst", counting(more, "burst", options.sagas))
            if "latency" in wanted:
                count = int(RATE * options.seconds)
                found |= measure.steady(side, RATE, options.seconds, "steady", counting(more, "steady", count))
            measure.check(side, more)
            return found

    return run
