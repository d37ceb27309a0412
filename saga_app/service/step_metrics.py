"""Outcomes and durations of steps, counted without the client library's counters: these took 4 to 7 µs a step.

Those are made for threads, and lock each value. This is a custom collector of the library
(https://prometheus.github.io/client_python/collector/custom/) for one event loop, where counting needs no lock.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

#: The possible outcomes of a step.
OUTCOMES = ("done", "denied", "failed")

#: The upper bounds of the histogram's buckets (seconds); the last one is infinity.
BOUNDS_S = Histogram.DEFAULT_BUCKETS


class StepCounts:
    """The outcomes and durations of one step."""

    __slots__ = ("in_bucket", "of_outcome", "sum_s")

    def __init__(self) -> None:
        self.of_outcome = dict.fromkeys(OUTCOMES, 0)
        self.in_bucket = [0] * len(BOUNDS_S)
        self.sum_s = 0.0

    def add(self, outcome: str, seconds: float) -> None:
        """Count one result of the step, and the time from receiving its request to that result."""
        self.of_outcome[outcome] += 1
        self.in_bucket[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class StepMetrics(Collector):
    """The metrics `saga_steps_total` and `saga_step_seconds`."""

    def __init__(self) -> None:
        self._counts: dict[str, StepCounts] = {}

    def of(self, step: str) -> StepCounts:
        """The counts of the step with this name."""
        return self._counts.setdefault(step, StepCounts())

    def collect(self) -> Iterator[Metric]:
        """Called by the library when the metrics are read."""
        steps = CounterMetricFamily("saga_steps", "Completed, denied and failed steps", labels=["step", "outcome"])
        seconds = HistogramMetricFamily(
            "saga_step_seconds", "Time from receiving a request to its outcome, in seconds", labels=["step"]
        )
        for step, counts in self._counts.items():
            for outcome, number in counts.of_outcome.items():
                steps.add_metric([step, outcome], number)
            names = [*map(str, BOUNDS_S[:-1]), "+Inf"]
            seconds.add_metric([step], list(zip(names, accumulate(counts.in_bucket), strict=True)), counts.sum_s)
        yield steps
        yield seconds


STEPS = StepMetrics()
REGISTRY.register(STEPS)
