"""Everything that the topics hold, from given offsets on: no group, and all partitions assigned by hand."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import OffsetOutOfRangeError

from saga_app.console.kafka.close_client import ended
from saga_app.console.kafka.fetch_tuning import Gather
from saga_app.console.kafka.open_consumer import opened
from saga_app.active_plan import ROWS_CHANGELOG, TOPICS
from saga_app.service.kafka import topics
from saga_app.stream.embedded import FETCH_WAIT_MS
from saga_app.stream.upstream.aiokafka import disable_prefetch_backoff, set_fetch_wait

Place = tuple[str, int]

#: While catching up, so many records of one partition at a time: the fewer, the better the order of time is kept.
RUN = 50

#: From so many records on, the table's changelog is read before the rest: most of the rest is then old news, and the
#: single steps are more than a client of the stream could be told (hub.RING).
BULK = 20_000


class Waiting(Exception):
    """Not everything is there yet; the text says what is missing."""


class Stale(Exception):
    """The topics are not those that the index was made from: it must be read anew."""


class Source:
    """Opened with `async with`, then positioned by `start_at`."""

    def __init__(self, bootstrap: str, partitions: int, embedded: bool) -> None:
        self.bootstrap, self.partitions = bootstrap, partitions
        self.places = [TopicPartition(topic, number) for topic in TOPICS for number in range(partitions)]
        self.wait_ms = FETCH_WAIT_MS if embedded else 500
        self.consumer: AIOKafkaConsumer
        self.cluster = ""
        self.missing: dict[Place, int] = {}  #: What was there at the start and has not been read, by its end.
        self.reached: dict[Place, int] = {}  #: How far each of these has been read: milliseconds since 1970.
        self.bulk = False  #: Whether that is so much that the changelog goes first.

    async def __aenter__(self) -> Self:
        await self._check()
        self.consumer = await opened(self._consumer())  # not before: who waits for topics would leave many behind
        self.gather = Gather(partial(set_fetch_wait, self.consumer), self.wait_ms)
        disable_prefetch_backoff(self.consumer)
        return self

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",  # a lost position is news, not a detail
            fetch_max_wait_ms=self.wait_ms,
            max_partition_fetch_bytes=1024 * 1024,
            request_timeout_ms=30_000,
            metadata_max_age_ms=30_000,
        )

    async def __aexit__(self, *_: object) -> None:
        await ended(self.consumer.stop())

    async def _check(self) -> None:
        """Raises `Waiting` until all topics are there."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=10_000)
        try:
            await admin.start()
            missing = await topics.check(admin, self.partitions)
            self.cluster = await cluster_of(admin)
        finally:
            await ended(admin.close())
        if missing is not None:
            raise Waiting(missing.reason)

    async def start_at(self, offsets: Mapping[Place, int]) -> None:
        """Begin there, or at the beginning where nothing is said.  Raises `Stale` if an offset is beyond the end."""
        first = await self.consumer.beginning_offsets(self.places)
        ends = await self.consumer.end_offsets(self.places)
        self.consumer.assign(self.places)
        behind = 0
        for place in self.places:
            offset = max(offsets.get((place.topic, place.partition), 0), first[place])
            if offset > ends[place]:
                raise Stale(f"{place.topic}[{place.partition}] ends at {ends[place]}, {offset} had been read")
            self.consumer.seek(place, offset)
            if offset < ends[place]:
                self.missing[place] = ends[place]
                behind += ends[place] - offset
        self.bulk = behind > BULK
        self.reached = dict.fromkeys(self.missing, 0)
        if self.missing:  # a broker holds a request back that asks only for what is not there yet
            self.consumer.pause(*[place for place in self.places if place not in self.missing])

    async def read(self, wait_s: float, most: int) -> tuple[list[Any], dict[Place, int]]:
        """The next records of all partitions, about so many at most, and the offsets behind them.

        Raises `Stale` if a position is not there any more.
        """
        try:
            records = await (self._old(wait_s, most) if self.missing else self._new(wait_s, most))
        except OffsetOutOfRangeError as error:
            raise Stale(f"positions are gone: {_shown(error.args[0])}") from error
        return records, {(record.topic, record.partition): record.offset + 1 for record in records}

    async def _new(self, wait_s: float, most: int) -> list[Any]:
        found = await self.consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=most)
        self.gather.fetched(found)
        return [record for run in found.values() for record in run]

    async def _old(self, wait_s: float, most: int) -> list[Any]:
        """What was there at the start, about in the order of time, and not topic by topic.

        So most sagas go a long way within one batch, and the index has to write each of them once or twice. Very much
        begins with the changelog, in the same order: who has ended there is written once, and read no further.
        """
        records: list[Any] = []
        while self.missing and len(records) < most:
            place = min(self.missing, key=self._turn)
            run = (await self.consumer.getmany(place, timeout_ms=int(wait_s * 1000), max_records=RUN)).get(place)
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

    def _turn(self, place: Place) -> tuple[bool, int]:
        """Whose turn it is: the least."""
        return self.bulk and place[0] != ROWS_CHANGELOG, self.reached[place]


def _shown(positions: Mapping[Any, int]) -> str:
    return ", ".join(f"{place.topic}[{place.partition}]@{offset}" for place, offset in _some(positions.items()))


def _some(items: Iterable[Any]) -> list[Any]:
    return sorted(items)[:3]


async def cluster_of(admin: AIOKafkaAdminClient) -> str:
    """The id that the brokers say they belong to; another id, another Kafka."""
    return str((await admin.describe_cluster()).get("cluster_id") or "")
