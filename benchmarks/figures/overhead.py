"""Engine overhead: the duration of a saga minus the injected lags of its steps."""

from collections.abc import Callable

from benchmarks import workloads
from benchmarks.context import Context
from benchmarks.goal import at_most
from benchmarks.our_services import OurServices
from benchmarks.progress import Update, saga_count
from benchmarks.report import Line
from benchmarks.statistics import percentile
from benchmarks.testbed import running_testbed
from benchmarks.workloads import Figures
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.onboarding_world import FilePolicy, LogMail, MockStock, OnboardingWorld
from saga_app.settings import Lag

#: Sagas a second, the lag of each step (seconds), and the seed from which the lags are drawn.
RATE_PER_S, LAG, SEED = 300.0, Lag(0.5, 2.0), 1

#: Seconds at this rate before the measurement, in which the broker's JVM compiles its code.
WARM_UP_S = 20.0


def measure(context: Context) -> None:
    """Measure this project only: the rivals have no lags."""
    rounds = context.alternate("overhead", {"ours": lambda update: trial(context, update)})
    title = f"engine overhead at {RATE_PER_S:g}/s, lag {LAG}"
    context.add(
        Line(f"{title}, p99", "ms", rounds.median("ours", "overhead_p99_ms"), at_most(150, "ms")),
        Line(f"{title}, p50", "ms", rounds.median("ours", "overhead_p50_ms")),
        Line(
            f"CPU per 1,000 sagas at {RATE_PER_S:g}/s, lag {LAG}",
            "s",
            rounds.median("ours", "steady_cpu_s_per_1000"),
        ),
    )


def trial(context: Context, update: Update, create: Callable[..., OurServices] = OurServices) -> Figures:
    """Run a steady rate on a fresh broker, after a warm-up. `create`: makes the services for a testbed and settings."""
    seconds = context.options.seconds
    with running_testbed() as testbed, create(testbed, lag=LAG, seed=SEED) as ours:
        workloads.burst(ours, 1000, "warm", saga_count(update, "warm-up", 1000))
        show_count = saga_count(update, "warm-up", int(RATE_PER_S * WARM_UP_S))
        workloads.steady(ours, RATE_PER_S, WARM_UP_S, "warmer", show_count)
        show_count = saga_count(update, "steady", int(RATE_PER_S * seconds))
        measured = workloads.steady(ours, RATE_PER_S, seconds, "steady", show_count)
        workloads.check(ours, update)
    overheads_ms = [
        measured["ends"][id] - start - 1000 * injected_lag_s(id.decode()) for id, start in measured["starts"].items()
    ]
    return {
        "overhead_p50_ms": percentile(overheads_ms, 50),
        "overhead_p99_ms": percentile(overheads_ms, 99),
        "steady_cpu_s_per_1000": measured["steady_cpu_s_per_1000"],
    }


def injected_lag_s(id: str) -> float:
    """The sum of the lags of this saga's steps at their first attempts, drawn as `saga_app/service/world.py` does."""
    world = OnboardingWorld(MockStock({}), FilePolicy({}), LogMail(), seed=SEED)
    keys = [f"{ONBOARDING.name}:{id}:{step.name}" for step in ONBOARDING.steps if step.lag]
    return sum(LAG.least + (LAG.most - LAG.least) * world.dice(key, "lag", 1) for key in keys)
