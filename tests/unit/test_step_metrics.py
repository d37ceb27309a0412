"""The counts of steps are reported as the client library's own counters and histograms report theirs."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

from saga_app.service.step_metrics import OUTCOMES, StepMetrics

RESULTS = st.lists(st.tuples(st.sampled_from(OUTCOMES), st.floats(0, 100) | st.sampled_from((0.005, 1.0, 10.0))))


@given(RESULTS)
def test_step_metrics_are_reported_like_those_of_the_client_library(results: list[tuple[str, float]]) -> None:
    own, library = CollectorRegistry(), CollectorRegistry()
    metrics = StepMetrics()
    own.register(metrics)
    counts = metrics.of("notify")
    counter = Counter("saga_steps_total", "Completed, denied and failed steps", ["step", "outcome"], registry=library)
    histogram = Histogram(
        "saga_step_seconds",
        "Time from receiving a request to its outcome, in seconds",
        ["step"],
        registry=library,
    ).labels("notify")
    counters = {outcome: counter.labels("notify", outcome) for outcome in OUTCOMES}
    for outcome, seconds in results:
        counts.add(outcome, seconds)
        counters[outcome].inc()
        histogram.observe(seconds)
    assert lines(own) == lines(library)


def lines(registry: CollectorRegistry) -> Iterable[str]:
    """The exposition of a registry, without the times at which the metrics were created."""
    return sorted(line for line in generate_latest(registry).decode().splitlines() if "_created" not in line)
