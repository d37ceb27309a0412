"""End offsets of partitions: last stable offset and high watermark, and transactions that block readers."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from saga_app.console.kafka.close_client import close_clients
from saga_app.console.kafka.open_consumer import start_consumer
from saga_app.console.kafka.source import Stale


class Ends:
    """End offsets: `readable` are the last stable offsets, up to which a read_committed consumer can read."""

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
        self._open: dict[TopicPartition, int] = {}  #: last stable offsets of partitions whose transaction was already open at the previous refresh

    async def open(self) -> None:
        """Connect the consumers if necessary. Raises `KafkaError`.

        Call it only when all topics exist, because metadata requests may create absent topics with a wrong partition
        count.
        """
        if not self._is_open:
            self._is_open = True
            for consumer in self._consumers:
                await start_consumer(consumer)

    async def close(self) -> None:
        """Close the consumers."""
        await close_clients(*(consumer.stop() for consumer in self._consumers))

    async def refresh(self, places: list[TopicPartition]) -> Stale | None:
        """Fetch the end offsets; returns `Stale` if a log has become shorter, so its topic was created again."""
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

    def blocked_by_transaction(self, places: list[TopicPartition]) -> str | None:
        """A description of the records in these partitions that an open transaction blocks, or None."""
        open_ = [place for place in places if place in self._open]
        if not open_:
            return None
        records = sum(self._logs[place] - self._open[place] for place in open_)
        first = f"{open_[0].topic}[{open_[0].partition}]@{self._open[open_[0]]}"
        return (
            f"{records} records wait for an open transaction, from {first} on: its producer has to commit or abort it"
        )
