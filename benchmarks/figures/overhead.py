"""What the engine adds to a saga whose steps take their time: its duration minus the lags that the dice have drawn."""

from benchmarks import measure
from benchmarks.context import Context, More
from benchmarks.measure import Figures
from benchmarks.numbers import at_most, percentile
from benchmarks.ours import Ours
from benchmarks.progress import counting
from benchmarks.report import Line
from benchmarks.stage import stage
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.onboarding_world import FilePolicy, LogMail, MockStock, OnboardingWorld
from saga_app.settings import Lag

#: Sagas a second, seconds of lag of each step, the seed of the dice.
RATE, LAG, SEED = 300.0, Lag(0.5, 2.0), 1

#: Seconds at this rate before it counts: a broker that has just started compiles its code meanwhile.
WARM_S = 20.0


def measured(context: Context) -> None:
    """Ours alone: a rival has no lags."""
    rounds = context.alternate("overhead", {"ours": lambda more: trial(context, more)})
    name = f"engine overhead at {RATE:g}/s, lag {LAG}"
    context.add(
        Line(f"{name}, p99", "ms", rounds.middle("ours", "overhead_p99_ms"), at_most(150, "ms")),
        Line(f"{name}, p50", "ms", rounds.middle("ours", "overhead_p50_ms")),
        Line(f"CPU a 1,000 sagas at {RATE:g}/s, lag {LAG}", "s", rounds.middle("ours", "steady_cpu_s_per_1000")),
    )


def trial(context: Context, more: More) -> Figures:
    """A steady rate on a fresh broker."""
    seconds = context.options.seconds
    with stage() as on, Ours(on, lag=LAG, seed=SEED) as side:
        measure.burst(side, 1000, "warm", counting(more, "warm-up", 1000))
        measure.steady(side, RATE, WARM_S, "warmer", counting(more, "warm-up", int(RATE * WARM_S)))
        found = measure.steady(side, RATE, seconds, "steady", counting(more, "steady", int(RATE * seconds)))
        measure.check(side, more)
    over = [found["ends"][id] - start - 1000 * drawn(id.decode()) for id, start in found["starts"].items()]
    cost = {"steady_cpu_s_per_1000": found["steady_cpu_s_per_1000"]}
    return {"overhead_p50_ms": percentile(over, 50), "overhead_p99_ms": percentile(over, 99)} | cost


def drawn(id: str) -> float:
    """Seconds that the steps of this saga were told to take, each at its first attempt; see service/world.py."""
    world = OnboardingWorld(MockStock({}), FilePolicy({}), LogMail(), seed=SEED)
    keys = [f"{ONBOARDING.name}:{id}:{step.name}" for step in ONBOARDING.steps if step.lag]
    return sum(LAG.least + (LAG.most - LAG.least) * world.dice(key, "lag", 1) for key in keys)
