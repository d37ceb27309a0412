"""aiokafka's consumer in its thread: it looks after group, positions and commits, and librdkafka fetches."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from saga_app.stream.consume.fetcher import MOST, Fetcher
from saga_app.stream.metadata_backoff import calm

#: How long to wait when there is no assignment just now (seconds).
BETWEEN_S = 0.05


def fetch_nothing(fetcher: Any) -> None:
    """Let aiokafka's fetcher look after the positions only: fetcher.py fetches."""
    actions = fetcher._get_actions_per_node
    fetcher._get_actions_per_node = lambda assignment: ([], *actions(assignment)[1:])


class Thread(driver.AIOKafkaConsumerThread):
    """Puts back what arrives too late, and ends when it is told to."""

    consumer: Any
    transport: Any
    fetcher: Fetcher | None = None

    async def on_start(self) -> None:
        """Keep the client calm, and learn from its coordinator how long rows may be written."""
        await super().on_start()
        client: Any = self._consumer
        calm(client._client)
        fetch_nothing(client._fetcher)
        transport = self.transport
        self.fetcher = Fetcher(
            transport.bootstrap, transport.fetch_wait_ms, on_loss=transport.on_loss, **transport.librdkafka
        )
        if hasattr(client._coordinator, "_do_heartbeat"):  # a client-only app has no group
            self.transport.lease.watch(client._coordinator)

    async def on_thread_stop(self) -> None:
        """End in any case: with the broker away aiokafka waits for it, or raises CancelledError at its closer,
        which kills this thread before it can tell anybody that it has ended, and the process never exits."""
        await self._closed(super().on_thread_stop())
        if self.fetcher is not None:
            await self._closed(self.fetcher.close())

    async def _closed(self, closing: Coroutine[Any, Any, None]) -> None:
        try:
            await asyncio.wait_for(closing, self.transport.drain_s)
        except (Exception, asyncio.CancelledError) as error:
            self.log.warning("the consumer did not close cleanly: %r", error)

    async def start_over(self, topics: Collection[str]) -> None:
        """Read the assigned partitions of these topics from their beginning."""
        await self.call_thread(self._start_over, topics)

    async def _start_over(self, topics: Collection[str]) -> None:
        consumer: Any = self._consumer
        assignment = consumer._fetcher._subscriptions.subscription.assignment
        first = await consumer.beginning_offsets([tp for tp in assignment.tps if tp.topic in topics])
        if self.fetcher is not None:
            self.fetcher.report_replaced(topics)
        for tp, offset in first.items():
            consumer.seek(tp, offset)

    def take_passed(self) -> dict[TP, tuple[int, int]]:
        """See `Fetcher.take_passed`."""
        return self.fetcher.take_passed() if self.fetcher is not None else {}

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = 0.0,
        max_records: int | None = None,
    ) -> Any:
        """Fetch no more than the ledger has room for, and nothing for which the time is over.

        What is taken under an assignment that ends meanwhile has not been handed out: its next owner fetches it again.
        """
        subscriptions = consumer._fetcher._subscriptions
        if self.fetcher is None or not self.consumer.flow_active or consumer._closed:
            return {}
        if subscriptions.reassignment_in_progress:
            await asyncio.sleep(BETWEEN_S)
            return {}
        assignment = subscriptions.subscription.assignment
        states = {tp: assignment.state_value(tp) for tp in active_partitions if tp in assignment.tps}
        room = max(1, self.consumer.ledger.room)
        most = MOST if self.app.in_recovery else min(room, max_records or room)
        with subscriptions.fetch_context():
            records = await self.fetcher.fetch(states, timeout or 0.0, most)
        if subscriptions.subscription.assignment is not assignment:
            self.fetcher.take_passed()
            return {}  # it is over, and its successor has positions of its own
        self._put_back(consumer, records)
        return records

    def _put_back(self, consumer: AIOKafkaConsumer, records: Any) -> None:
        """A rebalance began or ended while we waited.  Faust drops such records and hopes for a later
        seek (which does not happen without a committed offset): put back exactly what was taken."""
        fetched: Mapping[TP, list[Any]] = dict(records)
        wanted = self.consumer.fetchable() if fetched else frozenset()
        for tp, run in fetched.items():
            if tp not in wanted:
                consumer.seek(tp, run[0].offset)
                del records[tp]
                if self.fetcher is not None:
                    self.fetcher.forget_passed(tp)
