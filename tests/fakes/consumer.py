"""A consumer with aiokafka's interface whose partitions are lists in memory."""

from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from tests.fakes.record import FakeRecord


class FakeConsumer:
    """The methods of `AIOKafkaConsumer` that the console calls. `stored`: the records of each partition from offset 0.

    Records that a test adds to `stored` are returned by the next `getmany`.
    """

    def __init__(self, stored: Mapping[TopicPartition, Sequence[FakeRecord]]) -> None:
        self.stored = stored
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()

    async def beginning_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 0)

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: len(self.stored.get(place, ())) for place in places}

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
        self, *places: TopicPartition, timeout_ms: int = 0, max_records: int = 500
    ) -> dict[TopicPartition, list[FakeRecord]]:
        found: dict[TopicPartition, list[FakeRecord]] = {}
        for place in places or self.positions:
            run = [] if place in self.paused else self.stored.get(place, ())[self.positions[place] :][:max_records]
            if run:
                found[place] = list(run)
                self.positions[place] += len(run)
                max_records -= len(run)
            if not max_records:
                break
        return found
