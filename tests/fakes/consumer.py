"""A consumer of aiokafka's whose partitions are lists in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition


class FakeConsumer:
    """As much of `AIOKafkaConsumer` as the console's source asks of it."""

    def __init__(self, held: Mapping[TopicPartition, Sequence[Any]]) -> None:
        self.held = held
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()

    async def beginning_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 0)

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: len(self.held.get(place, ())) for place in places}

    def assign(self, places: Sequence[TopicPartition]) -> None:
        self.positions = dict.fromkeys(places, 0)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.positions[place] = offset

    def pause(self, *places: TopicPartition) -> None:
        self.paused.update(places)

    def resume(self, *places: TopicPartition) -> None:
        self.paused.difference_update(places)

    async def position(self, place: TopicPartition) -> int:
        return self.positions[place]

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int = 0, max_records: int
    ) -> dict[TopicPartition, list[Any]]:
        found: dict[TopicPartition, list[Any]] = {}
        for place in places or self.positions:
            run = [] if place in self.paused else self.held.get(place, ())[self.positions[place] :][:max_records]
            if run:
                found[place] = list(run)
                self.positions[place] += len(run)
                max_records -= len(run)
            if not max_records:
                break
        return found
