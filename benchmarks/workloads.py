"""The workloads of one trial (a warm-up, a burst, a steady rate), and the figures measured under each."""

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.implementation import Implementation
from benchmarks.process_usage import MIB
from benchmarks.progress import ShowCount, Update
from benchmarks.statistics import percentile
from benchmarks.topic_reader import NOTIFIED
from benchmarks.users import NEW_USER, sample_users
from saga_app.active_plan import ROWS_CHANGELOG

#: How long the sagas of a burst may take, and those still running when a steady rate ends (seconds).
BURST_TIMEOUT_S, DRAIN_TIMEOUT_S = 240.0, 60.0

#: Measured values by name. `starts` and `ends` map saga ids to times.
Figures = dict[str, Any]


@dataclass(frozen=True)
class EndOffsets:
    """Where the partitions of the topics ended at one moment."""

    new_user: dict[int, int]
    notified: dict[int, int]
    changelog: dict[int, int]


def end_offsets(implementation: Implementation) -> EndOffsets:
    """Where the topics end now."""
    reader = implementation.testbed.reader
    return EndOffsets(reader.end_offsets(NEW_USER), reader.end_offsets(NOTIFIED), reader.end_offsets(ROWS_CHANGELOG))


def warm_up(implementation: Implementation, count: int, show_count: ShowCount) -> Figures:
    """Run a burst whose throughput is reported separately."""
    return {"warm_sagas_per_s": burst(implementation, count, "warm", show_count)["sagas_per_s"]}


def check(implementation: Implementation, update: Update) -> None:
    """Verify the result of a trial. Raises RuntimeError if a saga was lost or handled wrongly."""
    update("checking")
    if problem := implementation.problem():
        raise RuntimeError(problem)


def burst(implementation: Implementation, count: int, prefix: str, show_count: ShowCount) -> Figures:
    """Send `count` users at once, and wait until their sagas have completed.

    The throughput is measured from the first user sent to the last row appended. CPU time and memory are those of the
    three services. Saga ids begin with `prefix`.
    """
    users, testbed = sample_users(count, prefix), implementation.testbed
    offsets, before = end_offsets(implementation), implementation.usage()
    began = time.time()
    testbed.sender.burst(users)
    ends = testbed.reader.wait_for_completions(offsets.notified, offsets.changelog, count, BURST_TIMEOUT_S, show_count)
    usage = implementation.usage()
    took_s = max(ends.values()) / 1000 - began
    return {
        "sagas_per_s": count / took_s,
        "took_s": took_s,
        "rows_per_saga": testbed.reader.count_since(ROWS_CHANGELOG, offsets.changelog) / count,
        "cpu_s_per_1000": usage.cpu_since(before, implementation.service_processes) / count * 1000,
        "cpu_ms_per_saga": {name: usage.cpu_since(before, [name]) / count * 1000 for name in usage.cpu_s},
        "memory_mib": usage.memory_of(implementation.service_processes) / MIB,
    }


def steady(implementation: Implementation, per_s: float, seconds: float, prefix: str, show_count: ShowCount) -> Figures:
    """Send `per_s` users a second for `seconds`, and wait until their sagas have completed.

    Latency is measured from the record of the user to the last row of its saga, both by the broker's clock (ms).
    """
    count = int(per_s * seconds)
    users, testbed = sample_users(count, prefix), implementation.testbed
    offsets, before = end_offsets(implementation), implementation.usage()
    testbed.sender.steady(users, per_s, show_count)
    ends = testbed.reader.wait_for_completions(offsets.notified, offsets.changelog, count, DRAIN_TIMEOUT_S, show_count)
    usage = implementation.usage()
    starts = testbed.reader.first_timestamps(NEW_USER, offsets.new_user)
    latencies_ms = [ends[id] - start for id, start in starts.items()]
    return {
        "p50_ms": percentile(latencies_ms, 50),
        "p99_ms": percentile(latencies_ms, 99),
        "steady_cpu_s_per_1000": usage.cpu_since(before, implementation.service_processes) / count * 1000,
        "starts": starts,
        "ends": ends,
    }
