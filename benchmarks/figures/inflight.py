"""Many sagas in flight: memory per saga, the time until all have completed, and sagas lost by a kill -9 halfway."""

import time

from benchmarks import workloads
from benchmarks.context import Context
from benchmarks.goal import at_most
from benchmarks.our_services import OurServices
from benchmarks.progress import Update
from benchmarks.report import Line
from benchmarks.testbed import running_testbed
from benchmarks.topic_reader import NOTIFIED
from benchmarks.users import sample_users
from benchmarks.workloads import Figures
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.settings import Lag

#: The service that is killed when half of the sagas have passed it.
KILLED_SERVICE = "notifier"

#: The time allowed beyond the lags of three steps (seconds): a worker limits the records in flight.
EXTRA_TIMEOUT_S = 900.0

#: The time between two measurements of memory (seconds).
POLL_INTERVAL_S = 1.0


def measure(context: Context) -> None:
    """Measure this project only: the rivals have no lags."""
    lag = context.options.inflight_lag
    rounds = context.alternate("inflight", {"ours": lambda update: trial(context, lag, update)})
    title = f"{context.options.inflight:,} in flight, lag {lag}"
    limit_s = 3 * lag.most * 1.2
    context.add(
        Line(f"{title}: memory of the services per saga", "kB", rounds.median("ours", "kb_per_saga"), at_most(8, "kB")),
        Line(f"{title}: all completed after", "s", rounds.median("ours", "drained_s"), at_most(limit_s, "s")),
        Line(f"{title}: lost by kill -9", "", rounds.median("ours", "lost"), at_most(0)),
    )


def trial(context: Context, lag: Lag, update: Update) -> Figures:
    """Send all users at once, kill a service when half of the sagas have passed it, and wait for all completions."""
    count = context.options.inflight
    with running_testbed() as testbed, OurServices(testbed, lag=lag, deadline=3600) as ours:
        users = sample_users(count, "flight")
        offsets, before = workloads.end_offsets(ours), ours.usage()
        began = time.monotonic()
        testbed.sender.burst(users)
        deadline = began + 3 * lag.most + EXTRA_TIMEOUT_S
        peak_bytes, done, has_killed = 0, 0, False
        while done < count and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
            ours.raise_if_ended()
            if not has_killed:
                peak_bytes = max(peak_bytes, ours.usage().memory_of(ours.service_processes))
            done = testbed.reader.count_since(NOTIFIED, offsets.notified)
            update(f"{done:,} of {count:,} sagas notified, memory {peak_bytes >> 20} MiB")
            if not has_killed and done > count / 2:
                kill_and_restart(ours)
                has_killed = True
        completions = testbed.reader.wait_for_completions(
            offsets.notified, offsets.changelog, count, workloads.DRAIN_TIMEOUT_S, lambda _: None
        )
        drained_s = time.monotonic() - began
        workloads.check(ours, update)
        return {
            "kb_per_saga": (peak_bytes - before.memory_of(ours.service_processes)) / count / 1000,
            "drained_s": drained_s,
            "lost": count - len(completions),
            "rows_per_saga": testbed.reader.count_since(ROWS_CHANGELOG, offsets.changelog) / count,
        }


def kill_and_restart(ours: OurServices) -> None:
    """Kill the service with SIGKILL and start it again, as a supervisor would."""
    ours.processes[KILLED_SERVICE].process.kill()
    ours.processes[KILLED_SERVICE].process.wait()
    ours.launch(KILLED_SERVICE, KILLED_SERVICE, 0)
