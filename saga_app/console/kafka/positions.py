"""Where in the topics a saga's records stand: by the time at which it ran.

Its records are written when it starts and whenever a step ends, so of a saga that waits for days only the minutes
around these moments have to be read. The few records of `saga-signals` and `dlq` may come at any time.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from saga_app.active_plan import TOPICS
from saga_app.saga.messages import DLQ, SIGNALS, Row
from saga_app.saga.times import epoch
from saga_app.service.kafka import topics

#: Services' and brokers' clocks may differ by so much, and this is how near windows are joined (seconds).
SLACK_S, NEAR_S = 10.0, 60.0

#: Topics in which something may be written at any time, and seldom is.
SPARSE = (SIGNALS, DLQ)

Window = tuple[float, float | None]  #: From, to (seconds since 1970); None: to the end.


class Run(NamedTuple):
    """Records of one partition, from an offset to before another."""

    place: TopicPartition
    first: int
    end: int


def windows(row: Row, others: Iterable[float] = ()) -> list[Window]:
    """The times around which the saga's steps were asked for and done, in their order, the near ones joined.

    `others`: when else something happened to it (seconds since 1970).
    """
    last = row.ended_at or row.updated_at
    visits = [at for visit in row.history for at in (visit.received_at, visit.ended_at)]
    moments = sorted([*(epoch(at) for at in (row.started_at, *visits, last)), *others])
    found: list[Window] = []
    for moment in moments:
        begin, end = moment - SLACK_S, moment + SLACK_S
        if found and found[-1][1] is not None and begin - found[-1][1] < NEAR_S:
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def whole(row: Row, slack_s: float = SLACK_S) -> list[Window]:
    """From its start to its end, or until now, and so many seconds around that."""
    return [(epoch(row.started_at) - slack_s, epoch(row.ended_at) + slack_s if row.ended_at else None)]


async def everything(consumer: AIOKafkaConsumer, partition: int) -> list[Run]:
    """All that a partition of every topic holds: where the broker knows no times."""
    places = [TopicPartition(topic, partition) for topic in TOPICS]
    first, end = await asyncio.gather(consumer.beginning_offsets(places), consumer.end_offsets(places))
    return [Run(place, first[place], end[place]) for place in places if first[place] < end[place]]


async def sparse(consumer: AIOKafkaConsumer, partition: int, row: Row) -> list[Run]:
    """The signals and the dead letters of the time in which the saga ran."""
    return await _within(consumer, [TopicPartition(topic, partition) for topic in SPARSE], whole(row))


async def dense(consumer: AIOKafkaConsumer, partition: int, row: Row, others: Iterable[float] = ()) -> list[Run]:
    """What was written while the saga's steps were asked for; `others`: and at these times (seconds since 1970)."""
    places = [TopicPartition(topic, partition) for topic in TOPICS if topic not in SPARSE]
    return await _within(consumer, places, windows(row, others))


async def around(consumer: AIOKafkaConsumer, partition: int, row: Row, slack_s: float) -> list[Run]:
    """All that was written while the saga ran, and so many seconds around that."""
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
    """The first records that are not older; the end where all are."""
    found = await consumer.offsets_for_times(dict.fromkeys(places, max(0, int(time * 1000))))
    return {place: at.offset if (at := found[place]) else ends[place] for place in places}
