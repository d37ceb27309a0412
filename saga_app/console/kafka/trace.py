"""One saga's timeline out of Kafka itself: its partition of every topic, over the time in which it ran.

A console asks this for sagas that nobody watched. The index says only when a saga ran; what is shown is what is read
from the topics, with topic, partition and offset as the proof. If records are missing there (topics that were mirrored,
clocks that differ), they are looked for further away, as far as that is affordable; the answer says what was searched.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

from aiokafka import AIOKafkaConsumer

from saga_app.console.kafka import positions
from saga_app.console.kafka.lookup import Lookup, read, rounds
from saga_app.console.kafka.positions import SLACK_S, Run
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import BadMessage, Row, parse
from saga_app.active_plan import PLAN
from saga_app.saga.timeline import Entry, Record, story
from saga_app.saga.times import iso, record_time, timestamp_text
from saga_app.stream import partition_of

#: How far around a saga's times its records are looked for if some are missing (seconds); None: wherever they are.
WIDER_S = (600.0, 86_400.0, None)

#: The most that a wider search reads, and the longest that it takes (records, seconds).
MOST_RECORDS, LONGEST_S = 100_000, 4.0


@dataclass(slots=True)
class Searched:
    """What was searched for a timeline: `around_s` seconds around the times of its row, None for whole partitions.

    `missing` are the topics on which a record of this saga was expected and not found.
    """

    around_s: float | None
    records: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """A timeline in causal order, the records that it comes from by their places, and what was searched."""

    entries: list[Entry]
    raws: dict[tuple[str, int, int], Any]
    searched: Searched


class Trace:
    """Answers by a lookup in Kafka."""

    def __init__(self, lookup: Lookup, partitions: int, embedded: bool) -> None:
        self.lookup, self.partitions, self.embedded = lookup, partitions, embedded

    async def of(self, row: Row) -> Found:
        """The timeline of the saga with this row.  Raises `Problem` 429 or 503."""
        async with self.lookup.consumer() as consumer:
            search = Search(consumer, row, partition_of(row.id.encode(), self.partitions))
            await (search.everything() if self.embedded else search.by_time())
        return Found(story(PLAN, _records(search.raws.values())), search.raws, search.searched)


class Search:
    """Collects a saga's records in `raws`, by their places."""

    def __init__(self, consumer: AIOKafkaConsumer, row: Row, partition: int) -> None:
        self.consumer, self.row, self.partition = consumer, row, partition
        self.raws: dict[tuple[str, int, int], Any] = {}
        self.searched = Searched(SLACK_S)
        self.until = float("inf")

    async def everything(self) -> None:
        """All that its partition holds, of every topic."""
        self.searched.around_s = None
        await self._read(await positions.everything(self.consumer, self.partition))
        self.searched.missing = [*missing(self.row, self.raws.values())]

    async def by_time(self) -> None:
        """Its signals and dead letters first, for they say when else something happened to it; then the rest."""
        await self._read(await positions.sparse(self.consumer, self.partition, self.row))
        moments = [record_time(raw.timestamp, time()) for raw in self.raws.values()]
        await self._read(await positions.dense(self.consumer, self.partition, self.row, moments))
        self.until = monotonic() + LONGEST_S
        for slack_s in WIDER_S:
            self.searched.missing = [*missing(self.row, self.raws.values())]
            if not self.searched.missing or not await self._widened(slack_s):
                return

    async def _widened(self, slack_s: float | None) -> bool:
        """Search further away; False if that was too much."""
        if slack_s is None:
            runs = await positions.everything(self.consumer, self.partition)
        else:
            runs = await positions.around(self.consumer, self.partition, self.row, slack_s)
        if sum(run.end - run.first for run in runs) > MOST_RECORDS or not await self._read(runs):
            return False
        self.searched.around_s = slack_s
        self.searched.missing = [*missing(self.row, self.raws.values())]
        return True

    async def _read(self, runs: Iterable[Run]) -> bool:
        """Keep the saga's records of these runs; False if the time is over."""
        key = self.row.id.encode()
        for together in rounds(runs):
            async for raw in read(self.consumer, together):
                self.searched.records += 1
                if raw.key == key or _is_origin(self.row, raw):
                    self.raws[raw.topic, raw.partition, raw.offset] = raw
                if monotonic() > self.until:
                    return False
        return True


def _is_origin(row: Row, raw: Any) -> bool:
    """Whether a saga began with this record: its client may have chosen another key, or none."""
    return row.origin == (raw.partition, raw.offset) and raw.topic == PLAN.steps[0].topic


def missing(row: Row, raws: Iterable[Any]) -> Iterator[str]:
    """The topics that must hold a record of a saga with this row, and of which none is among these."""
    there = {raw.topic for raw in raws}
    if row.ended and ROWS_CHANGELOG not in there:
        yield ROWS_CHANGELOG
    behind = [visit.step for visit in row.history if visit.outcome != "cancelled"]
    steps = [PLAN.steps[0].name, *behind, *([] if row.ended else [row.step])]
    for name in dict.fromkeys(steps):
        step = PLAN.named(name)
        if step is not None and step.topic not in there:
            yield step.topic


def _records(raws: Iterable[Any]) -> list[Record]:
    found, now = [], time()
    for raw in raws:
        try:
            body = parse(raw.topic, raw.value, raw.headers, ROWS_CHANGELOG)
        except BadMessage:
            continue
        found.append(Record(raw.topic, raw.partition, raw.offset, iso(record_time(raw.timestamp, now)), body))
    return found


def shown(raw: Any) -> dict[str, Any]:
    """A record as it stands in the log, for the person who wants to see it."""
    return {
        "key": text(raw.key),
        "value": text(raw.value),
        "headers": {name: text(value) for name, value in raw.headers},
        "timestamp": timestamp_text(raw.timestamp),
    }


def text(value: bytes | None) -> str | None:
    """Bytes as people read them."""
    return None if value is None else value.decode("utf-8", "replace")
