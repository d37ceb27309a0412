"""aiokafka's consumer in its thread: it keeps group membership, positions and commits; librdkafka fetches."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from faust.types import TP

from saga_app.stream.consume.fetcher import MAX_RECORDS, Fetcher
from saga_app.stream.upstream.aiokafka import (
    disable_fetching,
    group_coordinator,
    is_closed,
    network_client,
    pause_after_failed_metadata_update,
    subscription_state,
)
from saga_app.stream.upstream.faust import ConsumerThreadHooks

log = structlog.get_logger()

#: How long to wait while there is no assignment (seconds).
REBALANCE_PAUSE_S = 0.05


class Thread(ConsumerThreadHooks):
    """Fetches within the limits of the ledger, puts back records that arrive too late, and always stops in time."""

    consumer: Any
    transport: Any
    fetcher: Fetcher | None = None

    async def on_start(self) -> None:
        """Start aiokafka's consumer, which does everything except fetching, and the fetcher; start the lease."""
        await super().on_start()
        consumer = self.aiokafka_consumer
        pause_after_failed_metadata_update(network_client(consumer))
        disable_fetching(consumer)
        transport = self.transport
        self.fetcher = Fetcher(
            transport.bootstrap, transport.fetch_wait_ms, on_loss=transport.on_loss, **transport.librdkafka
        )
        coordinator = group_coordinator(consumer)
        if coordinator is not None:  # a client-only app has none
            self.transport.lease.watch(coordinator)

    async def on_thread_stop(self) -> None:
        """Stop within a time limit, whatever happens.

        Without a broker, aiokafka waits for it or raises CancelledError in the coroutine that closes it. That would end
        this thread before it reports that it has stopped, and the process would never exit.
        """
        await self._close_in_time(super().on_thread_stop())
        if self.fetcher is not None:
            await self._close_in_time(self.fetcher.close())

    async def _close_in_time(self, closing: Coroutine[Any, Any, None]) -> None:
        try:
            await asyncio.wait_for(closing, self.transport.drain_s)
        except (Exception, asyncio.CancelledError) as error:
            log.warning("consumer not closed cleanly", error=repr(error))

    async def start_over(self, topics: Collection[str]) -> None:
        """Read the assigned partitions of these topics from their beginning."""
        await self.call_thread(self._start_over, topics)

    async def _start_over(self, topics: Collection[str]) -> None:
        consumer = self.aiokafka_consumer
        assignment = subscription_state(consumer).subscription.assignment
        first = await consumer.beginning_offsets([tp for tp in assignment.tps if tp.topic in topics])
        if self.fetcher is not None:
            self.fetcher.report_replaced(topics)
        for tp, offset in first.items():
            consumer.seek(tp, offset)

    def take_skipped(self) -> dict[TP, tuple[int, int]]:
        """See `Fetcher.take_skipped`."""
        return self.fetcher.take_skipped() if self.fetcher is not None else {}

    async def fetch(
        self, consumer: AIOKafkaConsumer, partitions: set[TP], timeout_s: float | None, max_records: int | None
    ) -> Any:
        """Fetch no more records than the ledger has headroom for.

        Records of an assignment that ends during the fetch are dropped: their next owner fetches them again.
        """
        subscriptions = subscription_state(consumer)
        if self.fetcher is None or not self.consumer.flow_active or is_closed(consumer):
            return {}
        if subscriptions.reassignment_in_progress:
            await asyncio.sleep(REBALANCE_PAUSE_S)
            return {}
        assignment = subscriptions.subscription.assignment
        states = {tp: assignment.state_value(tp) for tp in partitions if tp in assignment.tps}
        headroom = max(1, self.consumer.ledger.headroom)
        most = MAX_RECORDS if self.app.in_recovery else min(headroom, max_records or headroom)
        with subscriptions.fetch_context():
            records = await self.fetcher.fetch(states, timeout_s or 0.0, most)
        if subscriptions.subscription.assignment is not assignment:
            self.fetcher.take_skipped()
            return {}  # the next assignment has positions of its own
        self._put_back(consumer, records)
        return records

    def _put_back(self, consumer: AIOKafkaConsumer, records: Any) -> None:
        """Seek back to records whose partition may not be read any more: a rebalance began or ended during the fetch.

        Faust drops such records and relies on a later seek, which does not happen without a committed offset.
        """
        fetched: Mapping[TP, list[Any]] = dict(records)
        wanted = self.consumer.fetchable() if fetched else frozenset()
        for tp, run in fetched.items():
            if tp not in wanted:
                consumer.seek(tp, run[0].offset)
                del records[tp]
                if self.fetcher is not None:
                    self.fetcher.forget_skipped(tp)
