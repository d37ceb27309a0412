"""How fast the console builds its index from Kafka, in a process of its own.

Far behind, the console publishes only the final state of each saga; close to the end it publishes every step.
"""

import time

from benchmarks import workloads
from benchmarks.context import Context, Trial
from benchmarks.goal import at_least
from benchmarks.our_services import CONSOLE, OurServices
from benchmarks.progress import Update, saga_count
from benchmarks.report import Line
from benchmarks.testbed import Testbed, running_testbed
from benchmarks.workloads import Figures
from devtools.wait import until
from saga_app.console.kafka.source import BULK_THRESHOLD

#: How long the console may take, and the time between two polls (seconds).
TIMEOUT_S, POLL_INTERVAL_S = 180.0, 0.02

#: The database files of the index.
INDEX_FILES = "index.sqlite*"

#: Sagas of six records each that stay below the threshold up to which every step is published.
SAGAS_WITH_EVERY_STEP = BULK_THRESHOLD // 6 - 100


def measure(context: Context) -> None:
    """Start a console without an index when all records are in the topics, with many and with few sagas."""
    counts = {"all": context.options.sagas, "few": SAGAS_WITH_EVERY_STEP}
    rounds = context.alternate("console", {name: trial(count) for name, count in counts.items()})
    context.add(
        Line(
            "console: catch-up with many sagas, final states only",
            "sagas/s",
            rounds.median("all", "sagas_per_s"),
            at_least(9000, "sagas/s"),
        ),
        Line(
            "console: catch-up with few sagas, every step",
            "sagas/s",
            rounds.median("few", "sagas_per_s"),
            at_least(6000, "sagas/s"),
        ),
        Line("console: index on disk, per saga", "kB", rounds.median("all", "index_kb_per_saga")),
    )


def trial(count: int) -> Trial:
    """The time from the console's first response to a complete index, while no other service runs."""

    def run(update: Update) -> Figures:
        with running_testbed() as testbed, OurServices(testbed, console=False) as ours:
            workloads.burst(ours, count, "burst", saga_count(update, "burst", count))
            ours.kill()
            ours.processes.clear()
            update("reading")
            ours.launch(CONSOLE, CONSOLE, 0)
            until(
                lambda: ours.answers(CONSOLE, "/health/live"),
                TIMEOUT_S,
                "the console does not answer",
                POLL_INTERVAL_S,
            )
            began, before = time.monotonic(), ours.usage()
            ours.wait_until_ready(CONSOLE, TIMEOUT_S, POLL_INTERVAL_S)
            took_s = time.monotonic() - began
            cpu_s = ours.usage().cpu_since(before, [CONSOLE])
            workloads.check(ours, update)
            figures = {"sagas_per_s": count / took_s, "took_s": took_s, "cpu_ms_per_saga": cpu_s / count * 1000}
            return figures | {"index_kb_per_saga": index_bytes(testbed) / count / 1000}

    return run


def index_bytes(testbed: Testbed) -> int:
    """The size of the index, its write-ahead log included. Raises RuntimeError if there is no index."""
    files = list((testbed.directory / "data").glob(INDEX_FILES))
    if not files:
        raise RuntimeError(f"no index ({INDEX_FILES})")
    return sum(file.stat().st_size for file in files)
