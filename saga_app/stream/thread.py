"""aiokafka's consumer in its thread."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from saga_app.stream.calm import calm
from saga_app.stream.gather import Gather


class Thread(driver.AIOKafkaConsumerThread):
    """Puts back what arrives too late, and ends when it is told to."""

    consumer: Any
    transport: Any

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        client = super()._create_worker_consumer(transport)
        client._fetch_max_wait_ms = transport.fetch_wait_ms  # hard-coded to 1500 in Faust
        return client

    async def on_start(self) -> None:
        """Keep the client calm, and learn from its coordinator how long rows may be written."""
        await super().on_start()
        client: Any = self._consumer
        calm(client._client)
        self.gather = Gather(client._fetcher, self.transport.fetch_wait_ms)
        if hasattr(client._coordinator, "_do_heartbeat"):  # a client-only app has no group
            self.transport.lease.watch(client._coordinator)

    async def on_thread_stop(self) -> None:
        """End in any case: with the broker away aiokafka waits for it, or raises CancelledError at its closer,
        which kills this thread before it can tell anybody that it has ended, and the process never exits."""
        try:
            await asyncio.wait_for(super().on_thread_stop(), self.transport.drain_s)
        except (Exception, asyncio.CancelledError) as error:
            self.log.warning("the consumer did not close cleanly: %r", error)

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = 0.0,
        max_records: int | None = None,
    ) -> Any:
        """Fetch no more than the ledger has room for, and nothing for which the time is over."""
        room = max(1, self.consumer.ledger.room)
        limit = None if self.app.in_recovery else min(room, max_records or room)
        records = await super()._fetch_records(consumer, active_partitions, timeout=timeout, max_records=limit)
        self.gather.fetched(records)
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
