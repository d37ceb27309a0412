"""Reads the timeline of one saga from Kafka: its partition of every topic, in the time in which it ran.

The index only tells when a saga ran; the timeline comes from the topics, with topic, partition and offset as evidence.
If expected records are missing (mirrored topics, clock differences), the search is extended within limits; the result
says what was searched.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

from aiokafka import AIOKafkaConsumer

from saga_app.console.kafka import positions
from saga_app.console.kafka.lookup import Lookup, read, group_by_partition
from saga_app.console.kafka.positions import SLACK_S, Run
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.codec import BadMessage, parse
from saga_app.saga.messages import Row
from saga_app.active_plan import PLAN
from saga_app.saga.timeline import Entry, DecodedRecord, story
from saga_app.saga.times import record_time, timestamp_text, utc
from saga_app.stream import partition_of

#: Extensions of the search window if records are missing (seconds); None: whole partitions.
WIDER_SLACKS_S = (600.0, 86_400.0, None)

#: Limits of an extended search: records and seconds.
MAX_RECORDS, MAX_SEARCH_S = 100_000, 4.0


@dataclass(slots=True)
class Searched:
    """The extent of a search: `around_s` seconds around the times of the row, None for whole partitions.

    `missing`: topics on which an expected record was not found.
    """

    around_s: float | None
    records: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """A timeline in causal order, its records by position, and the extent of the search."""

    entries: list[Entry]
    raws: dict[tuple[str, int, int], Any]
    searched: Searched


class Trace:
    """Reads timelines of sagas from Kafka."""

    def __init__(self, lookup: Lookup, partitions: int, embedded: bool) -> None:
        self.lookup, self.partitions, self.embedded = lookup, partitions, embedded

    async def of(self, row: Row) -> Found:
        """The timeline of the saga with this row. Raises `Problem` 429 or 503."""
        async with self.lookup.consumer() as consumer:
            search = Search(consumer, row, partition_of(row.id.encode(), self.partitions))
            await (search.everything() if self.embedded else search.by_time())
        return Found(story(PLAN, _records(search.raws.values())), search.raws, search.searched)


class Search:
    """A search for the records of a saga; `raws` are those found, by position."""

    def __init__(self, consumer: AIOKafkaConsumer, row: Row, partition: int) -> None:
        self.consumer, self.row, self.partition = consumer, row, partition
        self.raws: dict[tuple[str, int, int], Any] = {}
        self.searched = Searched(SLACK_S)
        self.until = float("inf")

    async def everything(self) -> None:
        """Search the whole partition of every topic."""
        self.searched.around_s = None
        await self._read(await positions.everything(self.consumer, self.partition))
        self.searched.missing = [*missing(self.row, self.raws.values())]

    async def by_time(self) -> None:
        """Search by time: signals and dead letters first, because they give further times of activity; then the rest."""
        await self._read(await positions.sparse(self.consumer, self.partition, self.row))
        moments = [record_time(raw.timestamp, time()) for raw in self.raws.values()]
        await self._read(await positions.dense(self.consumer, self.partition, self.row, moments))
        self.until = monotonic() + MAX_SEARCH_S
        for slack_s in WIDER_SLACKS_S:
            self.searched.missing = [*missing(self.row, self.raws.values())]
            if not self.searched.missing or not await self._widen(slack_s):
                return

    async def _widen(self, slack_s: float | None) -> bool:
        """Extend the search; False if that exceeds the limits."""
        if slack_s is None:
            runs = await positions.everything(self.consumer, self.partition)
        else:
            runs = await positions.around(self.consumer, self.partition, self.row, slack_s)
        if sum(run.end - run.first for run in runs) > MAX_RECORDS or not await self._read(runs):
            return False
        self.searched.around_s = slack_s
        self.searched.missing = [*missing(self.row, self.raws.values())]
        return True

    async def _read(self, runs: Iterable[Run]) -> bool:
        """Read runs and keep the records of the saga; False if the time limit is exceeded."""
        key = self.row.id.encode()
        for together in group_by_partition(runs):
            async for raw in read(self.consumer, together):
                self.searched.records += 1
                if raw.key == key or _is_origin(self.row, raw):
                    self.raws[raw.topic, raw.partition, raw.offset] = raw
                if monotonic() > self.until:
                    return False
        return True


def _is_origin(row: Row, raw: Any) -> bool:
    """Whether this record started the saga: its key may differ from the id, because clients choose it."""
    return row.origin == (raw.partition, raw.offset) and raw.topic == PLAN.steps[0].topic


def missing(row: Row, raws: Iterable[Any]) -> Iterator[str]:
    """The topics on which a saga with this row must have a record, but none was found."""
    there = {raw.topic for raw in raws}
    if row.ended and ROWS_CHANGELOG not in there:
        yield ROWS_CHANGELOG
    behind = [visit.step for visit in row.history if visit.outcome != "cancelled"]
    steps = [PLAN.steps[0].name, *behind, *([] if row.ended else [row.step])]
    for name in dict.fromkeys(steps):
        step = PLAN.step_named(name)
        if step is not None and step.topic not in there:
            yield step.topic


def _records(raws: Iterable[Any]) -> list[DecodedRecord]:
    found, now = [], time()
    for raw in raws:
        try:
            body = parse(raw.topic, raw.value, raw.headers, ROWS_CHANGELOG)
        except BadMessage:
            continue
        found.append(DecodedRecord(raw.topic, raw.partition, raw.offset, utc(record_time(raw.timestamp, now)), body))
    return found


def record_view(raw: Any) -> dict[str, Any]:
    """Key, value, headers and timestamp of a record as text, for display."""
    return {
        "key": text(raw.key),
        "value": text(raw.value),
        "headers": {name: text(value) for name, value in raw.headers},
        "timestamp": timestamp_text(raw.timestamp),
    }


def text(value: bytes | None) -> str | None:
    """Bytes decoded as UTF-8, with invalid sequences replaced; None for null."""
    return None if value is None else value.decode("utf-8", "replace")
