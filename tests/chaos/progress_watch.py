"""BrokerProbe at the groups' offsets and at the workers' counters while it storms."""

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

OFFSETS_EVERY_S, COUNTERS_EVERY_S = 0.5, 1.0

#: How long the broker may take to answer (milliseconds).
ANSWER_MS = 5000

COUNTERS = ("saga_duplicates_total", "saga_forwarded_total", "saga_dead_letters_total")


@dataclass(frozen=True)
class Stall:
    """A partition stood still: for how long (seconds), until when."""

    seconds: float = 0.0
    place: Place | None = None
    until: float = 0.0

    def __str__(self) -> str:
        group, topic, partition = self.place or ("", "nothing", "")
        return f"{self.seconds:.1f} s, {topic}[{partition}] of the {group}" if self.place else "never"


class StallDetector:
    """The longest time that a partition with records to read has committed nothing.

    It is counted between looks: from the last look at which it had nothing to read, or had committed something new. A
    look that gets no answer (the broker is away) ends nothing. The offset of a partition is that of its first
    unfinished record, so one that is tried again holds it, though all behind it go on.
    """

    def __init__(self) -> None:
        self._since: dict[Place, tuple[int, float]] = {}
        self.longest = Stall()
        self.lag = 0

    def saw(self, at: float, committed: Mapping[Place, int], ends: Mapping[Place, int]) -> None:
        """Offsets at a time: what the groups have committed, and where the partitions end."""
        self.lag = 0
        for place, end in ends.items():
            offset = committed.get(place, 0)
            self.lag += max(0, end - offset)
            before = self._since.get(place)
            if before is None or before[0] != offset or end <= offset:
                self._since[place] = (offset, at)
            elif at - before[1] > self.longest.seconds:
                self.longest = Stall(at - before[1], place, at)


class Counted:
    """Counters of processes that start at zero when they are restarted: the last value of each, added up."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int, str], float] = {}

    def saw(self, port: int, exposed: str) -> None:
        """What `/metrics` of a port has said."""
        started = re.search(r"^process_start_time_seconds (\S+)", exposed, re.M)
        for name in COUNTERS:
            values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", exposed, re.M)
            self._last[name, port, started[1] if started else ""] = sum(map(float, values))

    def total(self, counter: str) -> int:
        """Of all processes that there were; what one has counted in its last second is missing."""
        return round(sum(value for (name, _, _), value in self._last.items() if name == counter))


class ProgressWatch:
    """Two threads that look, until `stop`."""

    def __init__(self, bootstrap: str, ports: list[int], partitions: int = 12) -> None:
        self.stillness, self.counted = StallDetector(), Counted()
        self._ports, self._partitions = ports, partitions
        self._bootstrap = bootstrap
        self._over = threading.Event()
        self._looked = 0.0
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._offsets, self._counters)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def at_rest(self, since: float) -> bool:
        """All is read and committed, as seen after that time."""
        return self._looked > since and not self.stillness.lag

    def _offsets(self) -> None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that the broker is away is no news here
        asyncio.run(self._look_until_over())

    async def _look_until_over(self) -> None:
        while not self._over.is_set():
            try:
                await self._look()
            except (KafkaError, OSError, TimeoutError):  # the broker is away: a new client afterwards
                await asyncio.sleep(OFFSETS_EVERY_S)

    async def _look(self) -> None:
        """For as long as the broker answers."""
        limits = {"bootstrap_servers": self._bootstrap, "request_timeout_ms": ANSWER_MS}
        async with AsyncExitStack() as stack:
            admin, consumer = AIOKafkaAdminClient(**limits), AIOKafkaConsumer(**limits)
            stack.push_async_callback(admin.close)
            stack.push_async_callback(consumer.stop)
            await admin.start()
            await consumer.start()
            while not self._over.is_set():
                committed = await _committed(admin)  # first, so that what comes in between counts as not yet read
                ends = await _ends(consumer, self._partitions)
                self.stillness.saw(time.time(), committed, ends)
                self._looked = time.time()
                await asyncio.sleep(OFFSETS_EVERY_S)

    def _counters(self) -> None:
        while not self._over.wait(COUNTERS_EVERY_S):
            for port in self._ports:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=0.5) as answer:
                        self.counted.saw(port, answer.read().decode())
                except OSError:
                    continue  # killed, frozen or starting


async def _committed(admin: AIOKafkaAdminClient) -> dict[Place, int]:
    found: dict[Place, int] = {}
    for group in GROUPS:
        for place, at in (await admin.list_consumer_group_offsets(group)).items():
            found[group, place.topic, place.partition] = max(0, at.offset)
    return found


async def _ends(consumer: AIOKafkaConsumer, partitions: int) -> dict[Place, int]:
    groups = {topic: group for group, topics in GROUPS.items() for topic in topics}
    found = await consumer.end_offsets([TopicPartition(topic, p) for topic in groups for p in range(partitions)])
    return {(groups[place.topic], place.topic, place.partition): offset for place, offset in found.items()}
