"""Samples the groups' committed offsets and the workers' counters during a run."""

import asyncio
import logging
import re
import threading
import time
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from saga_app.saga.messages import DLQ, SIGNALS
from saga_app.saga.onboarding import ONBOARDING

#: Group, topic, partition.
Place = tuple[str, str, int]

GROUPS: Mapping[str, tuple[str, ...]] = {
    service: tuple(step.topic for step in ONBOARDING.of(service)) + ((DLQ, SIGNALS) if service == "provisioner" else ())
    for service in ("provisioner", "authorizer", "notifier")
}

#: The intervals at which offsets and counters are sampled (seconds).
OFFSETS_INTERVAL_S, COUNTERS_INTERVAL_S = 0.5, 1.0

BROKER_TIMEOUT_MS = 5000

COUNTERS = ("saga_duplicates_total", "saga_forwarded_total", "saga_dead_letters_total")


@dataclass(frozen=True)
class Stall:
    """A time in which a partition made no progress: duration, partition, and end (seconds since 1970)."""

    seconds: float = 0.0
    place: Place | None = None
    until: float = 0.0

    def __str__(self) -> str:
        if self.place is None:
            return "none"
        group, topic, partition = self.place
        return f"{self.seconds:.1f} s, {topic}[{partition}] of the {group}"


class StallDetector:
    """Finds the longest time in which a partition with unread records committed nothing.

    A stall begins at the last sample at which the partition had nothing to read, or had advanced. Missing samples,
    while the broker is down, do not end it. The committed offset is that of the first unfinished record, so a record
    that is retried stalls its partition even if later records are finished.
    """

    def __init__(self) -> None:
        self._progress: dict[Place, tuple[int, float]] = {}  #: the committed offset, and when it was last advanced
        self.longest = Stall()
        self.lag = 0  #: the consumer lag of all groups at the last sample

    def add_sample(self, at: float, committed: Mapping[Place, int], ends: Mapping[Place, int]) -> None:
        """Add the committed offsets of the groups and the end offsets of the partitions at a time."""
        self.lag = 0
        for place, end in ends.items():
            offset = committed.get(place, 0)
            self.lag += max(0, end - offset)
            before = self._progress.get(place)
            if before is None or before[0] != offset or end <= offset:
                self._progress[place] = (offset, at)
            elif at - before[1] > self.longest.seconds:
                self.longest = Stall(at - before[1], place, at)


class CounterTotals:
    """Sums Prometheus counters over processes, which begin at zero again after a restart."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int, str], float] = {}  #: by counter, port and start time of the process

    def add_sample(self, port: int, exposition: str) -> None:
        """Add the text of `/metrics` on a port."""
        started = re.search(r"^process_start_time_seconds (\S+)", exposition, re.M)
        for name in COUNTERS:
            values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", exposition, re.M)
            self._last[name, port, started[1] if started else ""] = sum(map(float, values))

    def total(self, counter: str) -> int:
        """The sum over all processes, without what a process counted after its last sample."""
        return round(sum(value for (name, _, _), value in self._last.items() if name == counter))


class ProgressWatch:
    """Samples in two threads until `stop()`. `ports`: the metrics ports of the workers."""

    def __init__(self, bootstrap: str, ports: list[int], partitions: int = 12) -> None:
        self.stalls, self.counters = StallDetector(), CounterTotals()
        self._ports, self._partitions = ports, partitions
        self._bootstrap = bootstrap
        self._stopping = threading.Event()
        self._sampled_at = 0.0
        work = (self._sample_offsets, self._sample_counters)
        self._threads = [threading.Thread(target=each, daemon=True) for each in work]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def is_idle(self, since: float) -> bool:
        """Whether a sample after `since` (seconds since 1970) had no consumer lag."""
        return self._sampled_at > since and not self.stalls.lag

    def _sample_offsets(self) -> None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # outages of the broker are part of the run
        asyncio.run(self._sample_offsets_until_stopped())

    async def _sample_offsets_until_stopped(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._sample_offsets_until_error()
            except (KafkaError, OSError, TimeoutError):  # the broker is down: continue with new clients
                await asyncio.sleep(OFFSETS_INTERVAL_S)

    async def _sample_offsets_until_error(self) -> None:
        async with AsyncExitStack() as stack:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, request_timeout_ms=BROKER_TIMEOUT_MS)
            consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, request_timeout_ms=BROKER_TIMEOUT_MS)
            stack.push_async_callback(admin.close)
            stack.push_async_callback(consumer.stop)
            await admin.start()
            await consumer.start()
            while not self._stopping.is_set():
                committed = await _committed_offsets(admin)  # first, so that the lag is not underestimated
                ends = await _end_offsets(consumer, self._partitions)
                self.stalls.add_sample(time.time(), committed, ends)
                self._sampled_at = time.time()
                await asyncio.sleep(OFFSETS_INTERVAL_S)

    def _sample_counters(self) -> None:
        while not self._stopping.wait(COUNTERS_INTERVAL_S):
            for port in self._ports:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=0.5) as response:
                        self.counters.add_sample(port, response.read().decode())
                except OSError:
                    continue  # killed, frozen or starting


async def _committed_offsets(admin: AIOKafkaAdminClient) -> dict[Place, int]:
    found: dict[Place, int] = {}
    for group in GROUPS:
        for tp, committed in (await admin.list_consumer_group_offsets(group)).items():
            found[group, tp.topic, tp.partition] = max(0, committed.offset)
    return found


async def _end_offsets(consumer: AIOKafkaConsumer, partitions: int) -> dict[Place, int]:
    groups = {topic: group for group, topics in GROUPS.items() for topic in topics}
    found = await consumer.end_offsets([TopicPartition(topic, p) for topic in groups for p in range(partitions)])
    return {(groups[tp.topic], tp.topic, tp.partition): offset for tp, offset in found.items()}
