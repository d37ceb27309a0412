"""The CPU that services and console use while nothing happens, on a real Kafka."""

import time

from benchmarks import workloads
from benchmarks.context import Context
from benchmarks.goal import at_most
from benchmarks.our_services import CONSOLE, OurServices
from benchmarks.progress import Update, saga_count
from benchmarks.report import Line
from benchmarks.testbed import running_testbed
from benchmarks.workloads import Figures

#: How long nothing happens before the measurement, and during it (seconds).
SETTLE_S, MEASURED_S = 15.0, 60.0

#: Sagas before that, so that no cost of a first saga is left.
SAGAS = 500


def measure(context: Context) -> None:
    """Measure the share of one core that each process uses; of the three services, the busiest counts."""
    rounds = context.alternate("idle", {"ours": trial})
    context.add(
        Line("idle service", "% of a core", rounds.median("ours", "service_percent"), at_most(0.5, "%")),
        Line(
            "idle console with an open page", "% of a core", rounds.median("ours", "console_percent"), at_most(1, "%")
        ),
    )


def trial(update: Update) -> Figures:
    """Run a few sagas, wait until all work is done, and measure."""
    with running_testbed() as testbed, OurServices(testbed) as ours:
        workloads.burst(ours, SAGAS, "warm", saga_count(update, "warm-up", SAGAS))
        update("settling")
        time.sleep(SETTLE_S)
        before, began = ours.usage(), time.monotonic()
        update("idle")
        time.sleep(MEASURED_S)
        usage, took_s = ours.usage(), time.monotonic() - began
        workloads.check(ours, update)
    percent = {name: usage.cpu_since(before, [name]) / took_s * 100 for name in usage.cpu_s}
    return {
        "service_percent": max(percent[name] for name in ours.service_processes),
        "console_percent": percent[CONSOLE],
        "percent": percent,
    }
