"""A full table: sagas/s beside an empty one, and how soon a killed Provisioner is ready again."""

import shutil
import time

from benchmarks import measure
from benchmarks.context import Context, More, Rounds, Trial
from benchmarks.filling import fill
from benchmarks.measure import Figures
from benchmarks.numbers import Goal, at_most, ratios, times_at_least
from benchmarks.ours import Ours
from benchmarks.progress import counting
from benchmarks.report import Line
from benchmarks.stage import stage

PROVISIONER = "provisioner"

#: Sagas before it counts: after a recovery RocksDB still puts its files in order, and reads each for the first time.
WARM = 10_000

#: What the Provisioner says when it has looked at all rows for what is due, and how long it may take (seconds).
LOOKED, LOOKED_WITHIN_S = "watching deadlines", 60.0

#: How long a start with a full table may take (seconds); between two looks whether it is ready.
RECOVERY_WITHIN_S, LOOK_S = 120.0, 0.02


def burst_measured(context: Context) -> None:
    """Empty and full, in turn. Without the console, which would be busy reading those rows, and without an audit,
    which would miss the beginnings of those sagas: that all of the burst have completed is seen."""
    rows = context.options.rows
    rounds = context.alternate("table", {"empty": burst(context, 0), "full": burst(context, rows)})
    context.add(
        line(f"burst with {rows:,} rows in the table", rounds, "sagas_per_s", times_at_least(0.9)),
        line(f"the first {WARM:,} after a start with {rows:,} rows", rounds, "warm_sagas_per_s"),
    )


def line(name: str, rounds: Rounds, figure: str, goal: Goal | None = None) -> Line:
    """Full beside empty."""
    full, empty = rounds.of("full", figure), rounds.of("empty", figure)
    beside = ("empty table", rounds.middle("empty", figure))
    return Line(name, "sagas/s", rounds.middle("full", figure), goal, *beside, ratios(full, empty))


def burst(context: Context, rows: int) -> Trial:
    """With so many rows there already."""
    options = context.options

    def run(more: More) -> Figures:
        with stage() as on:
            fill(on, rows, more)
            more("starting")
            with Ours(on, console=False, audited=False) as side:
                found = measure.warm(side, WARM, counting(more, "warm-up", WARM))
                more("waiting until all rows have been looked at")
                side.processes[PROVISIONER].wait_for_line(LOOKED, LOOKED_WITHIN_S)
                return found | measure.burst(side, options.sagas, "burst", counting(more, "burst", options.sagas))

    return run


def recovery_measured(context: Context) -> None:
    """From the start of the process that follows a kill -9 to ready."""
    rounds = context.alternate("recovery", {"ours": lambda more: recovery(context, more)})
    name = f"ready after kill -9 with {context.options.rows:,} rows"
    context.add(
        Line(f"{name}, datadir kept", "s", rounds.middle("ours", "kept_s"), at_most(5, "s")),
        Line(f"{name}, from nothing", "s", rounds.middle("ours", "nothing_s"), at_most(15, "s")),
    )


def recovery(context: Context, more: More) -> Figures:
    """Both ways, one after the other."""
    with stage() as on:
        ids = fill(on, context.options.rows, more)
        more("starting")
        with Ours(on, console=False, audited=False) as side:
            more("again, datadir kept")
            kept_s = again(side, ids, keep=True)
            more("again, from nothing")
            return {"kept_s": kept_s, "nothing_s": again(side, ids, keep=False)}


def again(side: Ours, ids: list[bytes], keep: bool) -> float:
    """Kill it, start it; the time from its start until it is ready (seconds). A row of the last is then to be had."""
    process = side.processes[PROVISIONER].process
    process.kill()
    process.wait()
    if not keep:
        for path in (side.stage.directory / "data").glob(f"{PROVISIONER}*"):
            shutil.rmtree(path)
    began = time.monotonic()
    side.launch(PROVISIONER, PROVISIONER, 0)
    side.wait_until_ready(PROVISIONER, RECOVERY_WITHIN_S, LOOK_S)
    took_s = time.monotonic() - began
    if not side.answers(PROVISIONER, f"/sagas/{ids[-1].decode()}"):
        raise RuntimeError("ready, but a row is not there")
    return took_s
