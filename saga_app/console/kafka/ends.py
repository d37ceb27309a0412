"""Where partitions end: what a consumer of committed records can read, and what the log holds."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from saga_app.console.kafka.close_client import ended
from saga_app.console.kafka.open_consumer import opened
from saga_app.console.kafka.source import Stale


class Ends:
    """Where partitions end: for a consumer of committed records (`readable`), and in the log."""

    def __init__(self, bootstrap: str) -> None:
        levels = ("read_committed", "read_uncommitted")
        self._consumers = [
            AIOKafkaConsumer(
                bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, isolation_level=level
            )
            for level in levels
        ]
        self._is_open = False
        self.readable: dict[TopicPartition, int] = {}
        self._logs: dict[TopicPartition, int] = {}
        self._open: dict[TopicPartition, int] = {}  #: where transactions were open at the last look, and still are

    async def open(self) -> None:
        """Connect, unless that is done. Raises KafkaError.

        Not before all topics exist: a client that asks for an absent one may have it created, with any partition count.
        """
        if not self._is_open:
            self._is_open = True
            for consumer in self._consumers:
                await opened(consumer)

    async def close(self) -> None:
        """Close what was opened."""
        await ended(*(consumer.stop() for consumer in self._consumers))

    async def look(self, places: list[TopicPartition]) -> Stale | None:
        """Ask for the ends; `Stale` if a partition ends before where it ended: its topic was created again."""
        readable, logs = [await consumer.end_offsets(places) for consumer in self._consumers]
        shorter = next((place for place in places if logs[place] < self._logs.get(place, 0)), None)
        before, self.readable = self.readable, readable
        self._logs = logs
        self._open = {p: readable[p] for p in places if readable[p] < logs[p] and before.get(p) == readable[p]}
        if shorter is None:
            return None
        return Stale(
            f"{shorter.topic}[{shorter.partition}] has lost records or was created again: it ends at {logs[shorter]}"
        )

    def held(self, places: list[TopicPartition]) -> str | None:
        """Which of these partitions wait for a transaction that was left open, in words."""
        open_ = [place for place in places if place in self._open]
        if not open_:
            return None
        records = sum(self._logs[place] - self._open[place] for place in open_)
        first = f"{open_[0].topic}[{open_[0].partition}]@{self._open[open_[0]]}"
        return (
            f"{records} records wait for an open transaction, from {first} on: its producer has to commit or abort it"
        )
