"""A run: every chosen figure in turn."""

from collections.abc import Callable, Mapping

from benchmarks.context import Context
from benchmarks.figures import console, duel, inflight, overhead, start, table, trace, workers

#: Those that are measured alone; burst, cpu and latency share their rounds.
ALONE: Mapping[str, Callable[[Context], None]] = {
    "workers": workers.measured,
    "overhead": overhead.measured,
    "trace": trace.measured,
    "inflight": inflight.measured,
    "table": table.burst_measured,
    "recovery": table.recovery_measured,
    "start": start.measured,
    "console": console.measured,
}


def run(context: Context) -> int:
    """The exit code: 1 when a run has failed; for the short one, when we are too slow."""
    options = context.options
    sides = (duel.OURS, duel.AIOKAFKA) if options.short else tuple(duel.SIDES)
    duel.measured(context, options.only, sides)
    for name, measured in ALONE.items():
        if name in options.only:
            measured(context)
    if options.short:
        return int(too_slow(context))
    return int(bool(context.report.failures))


def too_slow(context: Context) -> bool:
    """Whether a burst came to less than so much of the aiokafka chain's; one that lost something is nothing."""
    ratio = next(line.ratio for line in context.report.lines if line.rival == duel.AIOKAFKA)
    return ratio is None or ratio < context.options.least
