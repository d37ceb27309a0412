"""Finds the offset ranges that may hold the records of a saga, by the times at which it ran.

Its records are written when it starts and whenever a step ends, so only the minutes around these times have to be
read. The few records of `saga-signals` and `dlq` may be written at any time.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from saga_app.active_plan import TOPICS
from saga_app.saga.messages import DLQ, SIGNALS, Row
from saga_app.service.kafka import topics

#: Tolerance for clock differences, and maximum gap between windows that are merged (seconds).
SLACK_S, NEAR_S = 10.0, 60.0

#: Topics with few records, which may be written at any time.
SPARSE = (SIGNALS, DLQ)

Window = tuple[float, float | None]  #: From, to (seconds since 1970); None: to the end.


class Run(NamedTuple):
    """A range of offsets in one partition; `end` is exclusive."""

    place: TopicPartition
    first: int
    end: int


def windows(row: Row, others: Iterable[float] = ()) -> list[Window]:
    """Time windows around the requests and results of a saga's steps, in order, with close ones merged.

    `others`: further times (seconds since 1970).
    """
    last = row.ended_at or row.updated_at
    visits = [at for visit in row.history for at in (visit.received_at, visit.ended_at)]
    moments = sorted([*(at.timestamp() for at in (row.started_at, *visits, last)), *others])
    found: list[Window] = []
    for moment in moments:
        begin, end = moment - SLACK_S, moment + SLACK_S
        if found and found[-1][1] is not None and begin - found[-1][1] < NEAR_S:
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def whole(row: Row, slack_s: float = SLACK_S) -> list[Window]:
    """One window from the start of a saga to its end, or open-ended, extended by `slack_s` on both sides."""
    return [(row.started_at.timestamp() - slack_s, row.ended_at.timestamp() + slack_s if row.ended_at else None)]


async def everything(consumer: AIOKafkaConsumer, partition: int) -> list[Run]:
    """The whole partition of every topic, for brokers without an index by time."""
    places = [TopicPartition(topic, partition) for topic in TOPICS]
    first, end = await asyncio.gather(consumer.beginning_offsets(places), consumer.end_offsets(places))
    return [Run(place, first[place], end[place]) for place in places if first[place] < end[place]]


async def sparse(consumer: AIOKafkaConsumer, partition: int, row: Row) -> list[Run]:
    """Runs of the signals and dead letters in the time of the saga."""
    return await _within(consumer, [TopicPartition(topic, partition) for topic in SPARSE], whole(row))


async def dense(consumer: AIOKafkaConsumer, partition: int, row: Row, others: Iterable[float] = ()) -> list[Run]:
    """Runs of all other topics around the steps of the saga, and around `others` (seconds since 1970)."""
    places = [TopicPartition(topic, partition) for topic in TOPICS if topic not in SPARSE]
    return await _within(consumer, places, windows(row, others))


async def around(consumer: AIOKafkaConsumer, partition: int, row: Row, slack_s: float) -> list[Run]:
    """Runs of all topics in the time of the saga, extended by `slack_s` on both sides."""
    return await _within(consumer, [TopicPartition(topic, partition) for topic in TOPICS], whole(row, slack_s))


async def _within(consumer: AIOKafkaConsumer, places: list[TopicPartition], asked: list[Window]) -> list[Run]:
    ends = await consumer.end_offsets(places)
    found = await asyncio.gather(*(_runs(consumer, places, window, ends) for window in asked))
    return [run for runs in found for run in runs]


async def _runs(
    consumer: AIOKafkaConsumer, places: list[TopicPartition], window: Window, ends: dict[Any, int]
) -> Iterable[Run]:
    first = await _offsets(consumer, places, window[0], ends)
    end = ends if window[1] is None else await _offsets(consumer, places, window[1], ends)
    return [Run(place, first[place], end[place]) for place in places if first[place] < end[place]]


async def _offsets(
    consumer: AIOKafkaConsumer, places: list[TopicPartition], time: float, ends: dict[Any, int]
) -> dict[Any, int]:
    """Offsets of the first records at or after a time; the end offset if there are none."""
    found = await consumer.offsets_for_times(dict.fromkeys(places, max(0, int(time * 1000))))
    return {place: at.offset if (at := found[place]) else ends[place] for place in places}
