"""Measures the chosen figures one after the other."""

from collections.abc import Callable, Mapping

from benchmarks.context import Context
from benchmarks.figures import (
    against,
    burst_cpu_latency,
    console,
    idle,
    inflight,
    overhead,
    start,
    table,
    trace,
    workers,
)

#: Figures with trials of their own; burst, cpu and latency share theirs.
SEPARATE_FIGURES: Mapping[str, Callable[[Context], None]] = {
    "workers": workers.measure,
    "overhead": overhead.measure,
    "trace": trace.measure,
    "inflight": inflight.measure,
    "table": table.measure_burst,
    "recovery": table.measure_recovery,
    "start": start.measure,
    "console": console.measure,
    "idle": idle.measure,
    "against": against.measure,
}


def run(context: Context) -> int:
    """Measure all chosen figures. Returns the exit code: 1 if a trial failed, or with `--short` if we are too slow."""
    options = context.options
    names = tuple(burst_cpu_latency.IMPLEMENTATIONS)
    if options.short:
        names = (burst_cpu_latency.OURS, burst_cpu_latency.AIOKAFKA)
    burst_cpu_latency.measure(context, options.only, names)
    for name, measure in SEPARATE_FIGURES.items():
        if name in options.only:
            measure(context)
    if options.short:
        return int(is_too_slow(context))
    return int(bool(context.report.failures))


def is_too_slow(context: Context) -> bool:
    """Whether our burst was below the minimum ratio to the aiokafka chain. A burst that lost a saga counts as 0."""
    ratio = next(line.ratio for line in context.report.lines if line.rival == burst_cpu_latency.AIOKAFKA)
    return ratio is None or ratio < context.options.least
