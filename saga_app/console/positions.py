"""Where in the topics a saga's records stand: by the time at which it ran.

Its records are written when it starts and whenever a step ends, so of a saga that waits for days only the minutes
around these moments have to be read. The few records of `saga-signals` and `dlq` may come at any time.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from saga_app.saga.messages import DLQ, SIGNALS, Row
from saga_app.saga.times import epoch
from saga_app.service import topics

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


def windows(row: Row) -> list[Window]:
    """The times around which the saga's steps were asked for, in their order, the near ones joined."""
    last = row.ended_at or row.updated_at
    moments = sorted(epoch(at) for at in (row.started_at, *(visit.ended_at for visit in row.history), last))
    found: list[Window] = []
    for moment in moments:
        begin, end = moment - SLACK_S, moment + SLACK_S
        if found and found[-1][1] is not None and begin - found[-1][1] < NEAR_S:
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def whole(row: Row) -> list[Window]:
    """From its start to its end, or until now."""
    return [(epoch(row.started_at) - SLACK_S, epoch(row.ended_at) + SLACK_S if row.ended_at else None)]


async def everything(consumer: AIOKafkaConsumer, partition: int) -> list[Run]:
    """All that a partition of every topic holds: where the broker knows no times."""
    places = [TopicPartition(topic, partition) for topic in topics.TOPICS]
    first, end = await asyncio.gather(consumer.beginning_offsets(places), consumer.end_offsets(places))
    return [Run(place, first[place], end[place]) for place in places if first[place] < end[place]]


async def around(consumer: AIOKafkaConsumer, partition: int, row: Row) -> list[Run]:
    """What was written while the saga's steps were asked for."""
    places = [TopicPartition(topic, partition) for topic in topics.TOPICS]
    dense = [place for place in places if place.topic not in SPARSE]
    sparse = [place for place in places if place.topic in SPARSE]
    ends = await consumer.end_offsets(places)
    asked = [_runs(consumer, dense, window, ends) for window in windows(row)]
    asked += [_runs(consumer, sparse, window, ends) for window in whole(row)]
    return [run for runs in await asyncio.gather(*asked) for run in runs]


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
