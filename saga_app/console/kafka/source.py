"""Reads all topics from given offsets: without a consumer group, with all partitions assigned explicitly."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import OffsetOutOfRangeError

from saga_app.console.kafka.close_client import close_clients
from saga_app.console.kafka.fetch_tuning import FetchTuner
from saga_app.console.kafka.open_consumer import start_consumer
from saga_app.active_plan import ROWS_CHANGELOG, TOPICS
from saga_app.service.kafka import topics
from saga_app.stream.embedded import FETCH_WAIT_MS
from saga_app.stream.upstream.aiokafka import disable_prefetch_backoff, set_fetch_wait

Place = tuple[str, int]

#: Maximum number of records from one partition in turn while catching up. Smaller turns keep the order of time better.
RECORDS_PER_TURN = 50

#: How long the broker may hold a fetch without records (milliseconds): while catching up, and afterwards. Each fetch
#: names all partitions, and is built and parsed in Python.
CATCH_UP_WAIT_MS, LIVE_WAIT_MS = 500, 2000

#: With a larger backlog, the changelog is read before the other topics: most of their records are then redundant, and
#: the events of single steps would exceed the ring of the event stream anyway.
BULK_THRESHOLD = 20_000


class Waiting(Exception):
    """Topics are missing or incomplete; the text says which."""


class Stale(Exception):
    """The topics are not those from which the index was built, so it must be rebuilt."""


class Source:
    """The source of records. Open it with `async with`, then call `start_at`.

    Entering it raises `Waiting` until all topics exist.
    """

    def __init__(self, bootstrap: str, partitions: int, embedded: bool) -> None:
        self.bootstrap, self.partitions = bootstrap, partitions
        self.places = [TopicPartition(topic, number) for topic in TOPICS for number in range(partitions)]
        self.wait_ms = FETCH_WAIT_MS if embedded else CATCH_UP_WAIT_MS
        self.live_wait_ms = FETCH_WAIT_MS if embedded else LIVE_WAIT_MS
        self.consumer: AIOKafkaConsumer
        self.cluster = ""
        self.missing: dict[Place, int] = {}  #: End offsets of the backlog that has not been read yet.
        self.reached: dict[Place, int] = {}  #: Timestamp of the last record read from each of these (ms since 1970).
        self.bulk = False  #: Whether the changelog is read first.

    async def __aenter__(self) -> Self:
        await self._check()
        self.consumer = await start_consumer(self._consumer())  # after the check, so that waiting for topics creates no consumers
        self.tuner = FetchTuner(partial(set_fetch_wait, self.consumer), self.live_wait_ms)
        disable_prefetch_backoff(self.consumer)
        return self

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",  # a lost position must raise an error
            fetch_max_wait_ms=self.wait_ms,
            max_partition_fetch_bytes=1024 * 1024,
            request_timeout_ms=30_000,
            metadata_max_age_ms=30_000,
        )

    async def __aexit__(self, *_: object) -> None:
        await close_clients(self.consumer.stop())

    async def _check(self) -> None:
        """Raises `Waiting` until all topics exist."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=10_000)
        try:
            await admin.start()
            missing = await topics.check(admin, self.partitions)
            self.cluster = await cluster_of(admin)
        finally:
            await close_clients(admin.close())
        if missing is not None:
            raise Waiting(missing.reason)

    async def start_at(self, offsets: Mapping[Place, int]) -> None:
        """Set the positions; partitions without an offset start at their beginning.

        Raises `Stale` if an offset is beyond the end of its partition.
        """
        first = await self.consumer.beginning_offsets(self.places)
        ends = await self.consumer.end_offsets(self.places)
        self.consumer.assign(self.places)
        backlog = 0
        for place in self.places:
            offset = max(offsets.get((place.topic, place.partition), 0), first[place])
            if offset > ends[place]:
                raise Stale(f"{place.topic}[{place.partition}] ends at {ends[place]}, but offset {offset} was read before")
            self.consumer.seek(place, offset)
            if offset < ends[place]:
                self.missing[place] = ends[place]
                backlog += ends[place] - offset
        self.bulk = backlog > BULK_THRESHOLD
        self.reached = dict.fromkeys(self.missing, 0)
        if self.missing:  # a fetch of partitions without new records would delay the response
            self.consumer.pause(*[place for place in self.places if place not in self.missing])

    async def read(self, wait_s: float, most: int) -> tuple[list[Any], dict[Place, int]]:
        """The next records of all partitions, about `most` at the most, and the next offset of each partition read.

        `wait_s`: how long to wait for the first record. Raises `Stale` if a position has been deleted.
        """
        try:
            records = await (self._read_backlog(wait_s, most) if self.missing else self._read_new(wait_s, most))
        except OffsetOutOfRangeError as error:
            raise Stale(f"records were deleted before they were read: {_shown(error.args[0])}") from error
        return records, {(record.topic, record.partition): record.offset + 1 for record in records}

    async def _read_new(self, wait_s: float, most: int) -> list[Any]:
        found = await self.consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=most)
        self.tuner.record_fetch(found)
        return [record for run in found.values() for record in run]

    async def _read_backlog(self, wait_s: float, most: int) -> list[Any]:
        """Read the backlog approximately in the order of time instead of topic by topic.

        Each batch then contains most of the steps of its sagas, so that the index writes each saga once or twice. A
        large backlog starts with the changelog: sagas that ended are written once, and their requests are skipped.
        """
        records: list[Any] = []
        while self.missing and len(records) < most:
            place = min(self.missing, key=self._turn_key)
            run = (await self.consumer.getmany(place, timeout_ms=int(wait_s * 1000), max_records=RECORDS_PER_TURN)).get(place)
            if run:
                records += run
                self.reached[place] = run[-1].timestamp
            if await self.consumer.position(place) >= self.missing[place]:
                del self.missing[place]
                self.consumer.pause(place)
            elif not run:
                break
        if not self.missing:
            self.consumer.resume(*self.places)
        return records

    def _turn_key(self, place: Place) -> tuple[bool, int]:
        """The sort key of the partition to read next; the smallest is first."""
        return self.bulk and place[0] != ROWS_CHANGELOG, self.reached[place]


def _shown(positions: Mapping[Any, int]) -> str:
    return ", ".join(f"{place.topic}[{place.partition}]@{offset}" for place, offset in _first_three(positions.items()))


def _first_three(items: Iterable[Any]) -> list[Any]:
    return sorted(items)[:3]


async def cluster_of(admin: AIOKafkaAdminClient) -> str:
    """The id of the Kafka cluster; empty if it has none."""
    return str((await admin.describe_cluster()).get("cluster_id") or "")
