"""A table with many rows: throughput next to an empty table, and how soon a killed Provisioner is ready again."""

import shutil
import time

from benchmarks import workloads
from benchmarks.completed_rows import fill
from benchmarks.context import Context, Rounds, Trial
from benchmarks.goal import Goal, at_most, times_at_least
from benchmarks.our_services import OurServices
from benchmarks.progress import Update, saga_count
from benchmarks.report import Line
from benchmarks.statistics import median_ratio
from benchmarks.testbed import running_testbed
from benchmarks.workloads import Figures

PROVISIONER = "provisioner"

#: Sagas before the measured burst: after a recovery RocksDB still compacts, and reads each file for the first time.
WARM_UP_SAGAS = 10_000

#: The Provisioner's log event after it has scanned all rows for deadlines, and how long that may take (seconds).
SCAN_EVENT, SCAN_TIMEOUT_S = "watching deadlines", 60.0

#: How long a start with a full table may take, and the time between two polls of its readiness (seconds).
RECOVERY_TIMEOUT_S, POLL_INTERVAL_S = 120.0, 0.02


def measure_burst(context: Context) -> None:
    """Measure a burst with an empty and with a full table.

    Without the console, which would be busy reading the rows, and without `saga audit`, which would report that their
    sagas never began. The workload itself verifies that all sagas of the burst complete.
    """
    rows = context.options.rows
    rounds = context.alternate("table", {"empty": burst_trial(context, 0), "full": burst_trial(context, rows)})
    context.add(
        line(f"burst with {rows:,} rows in the table", rounds, "sagas_per_s", times_at_least(0.9)),
        line(f"first {WARM_UP_SAGAS:,} sagas after a start with {rows:,} rows", rounds, "warm_sagas_per_s"),
    )


def line(title: str, rounds: Rounds, value: str, goal: Goal | None = None) -> Line:
    """A line that compares the full table with the empty one."""
    full, empty = rounds.of("full", value), rounds.of("empty", value)
    rival = ("empty table", rounds.median("empty", value))
    return Line(title, "sagas/s", rounds.median("full", value), goal, *rival, median_ratio(full, empty))


def burst_trial(context: Context, rows: int) -> Trial:
    """A burst with this number of rows in the table."""
    options = context.options

    def run(update: Update) -> Figures:
        with running_testbed() as testbed:
            fill(testbed, rows, update)
            update("starting")
            with OurServices(testbed, console=False, audited=False) as ours:
                figures = workloads.warm_up(ours, WARM_UP_SAGAS, saga_count(update, "warm-up", WARM_UP_SAGAS))
                update("waiting until all rows have been scanned for deadlines")
                ours.processes[PROVISIONER].wait_for_line(SCAN_EVENT, SCAN_TIMEOUT_S)
                show_count = saga_count(update, "burst", options.sagas)
                return figures | workloads.burst(ours, options.sagas, "burst", show_count)

    return run


def measure_recovery(context: Context) -> None:
    """Measure the time from the restart after a kill -9 to readiness, with and without the data on disk."""
    rounds = context.alternate("recovery", {"ours": lambda update: recovery_trial(context, update)})
    title = f"ready after kill -9 with {context.options.rows:,} rows"
    context.add(
        Line(f"{title}, disk kept", "s", rounds.median("ours", "kept_s"), at_most(5, "s")),
        Line(f"{title}, empty disk", "s", rounds.median("ours", "nothing_s"), at_most(15, "s")),
    )


def recovery_trial(context: Context, update: Update) -> Figures:
    """Both kinds of recovery, one after the other."""
    with running_testbed() as testbed:
        ids = fill(testbed, context.options.rows, update)
        update("starting")
        with OurServices(testbed, console=False, audited=False) as ours:
            update("recovery, disk kept")
            kept_s = recovery_time(ours, ids, keep_disk=True)
            update("recovery, empty disk")
            return {"kept_s": kept_s, "nothing_s": recovery_time(ours, ids, keep_disk=False)}


def recovery_time(ours: OurServices, ids: list[bytes], keep_disk: bool) -> float:
    """Kill the Provisioner and start it again. Returns the seconds from its start to readiness.

    Raises RuntimeError if the last row cannot be read then.
    """
    process = ours.processes[PROVISIONER].process
    process.kill()
    process.wait()
    if not keep_disk:
        for path in (ours.testbed.directory / "data").glob(f"{PROVISIONER}*"):
            shutil.rmtree(path)
    began = time.monotonic()
    ours.launch(PROVISIONER, PROVISIONER, 0)
    ours.wait_until_ready(PROVISIONER, RECOVERY_TIMEOUT_S, POLL_INTERVAL_S)
    took_s = time.monotonic() - began
    if not ours.answers(PROVISIONER, f"/sagas/{ids[-1].decode()}"):
        raise RuntimeError("the Provisioner is ready, but a row is missing")
    return took_s
