"""Faust's consumer, which delivers batches and follows the phases of a rebalance."""

from asyncio import iscoroutine
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import structlog
from faust.types import TP
from mode import Service
from mode.services import WaitResults

from saga_app.stream.brokers import PROBE_INTERVAL_S, BrokerProbe
from saga_app.stream.consume import on_revoke
from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.commits import Commits
from saga_app.stream.consume.eager import Eager
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.consume.phase import Phase
from saga_app.stream.consume.thread import Thread
from saga_app.stream.consume.watchdog import problem
from saga_app.stream.table.rows import NO_OFFSET
from saga_app.stream.upstream.faust import ConsumerHooks, changelog_table

if TYPE_CHECKING:
    from saga_app.stream.transport import Transport

log = structlog.get_logger()


class Consumer(ConsumerHooks):
    """Delivers each fetched run of records as one Faust message; a `Ledger` keeps the offsets."""

    transport: "Transport"
    thread: Thread

    def __init__(self, transport: "Transport", *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger(transport.max_inflight)
        self.commits = Commits(self)
        self.phase = Phase.REVOKED
        self.last_fetch_at = monotonic()
        super().__init__(transport, *args, **kwargs)

    def new_thread(self) -> Thread:
        """The thread that owns aiokafka's consumer."""
        return Thread(self, loop=self.loop, beacon=self.beacon)

    # -- fetching

    def fetchable(self) -> frozenset[TP]:
        """Partitions that may be read now (called from both threads)."""
        if self.phase is Phase.REVOKED or not self.flow_active:
            return frozenset()
        tps = self.readable_partitions
        return frozenset(tp for tp in tps if self.phase is Phase.STREAMING or self.table_of(tp) is not None)

    def table_of(self, tp: TP) -> Any:
        """The table whose changelog this partition belongs to, or None."""
        return changelog_table(self.app, tp.topic)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Yield batches. A changelog run goes directly to its table; Faust gets only its last record."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        self.last_fetch_at = monotonic()
        if not await self.ledger.wait_for_headroom(timeout):
            return
        active = self.fetchable()
        if not active:
            await self.sleep(0.05)
            return
        records = await self.fetch_records(set(active), timeout if self.phase is Phase.STREAMING else 0.1)
        generation, skipped = self.app.consumer_generation_id, self.thread.take_skipped()
        if self.should_stop or not self.flow_active:
            return
        self._skip(skipped, skipped.keys() - records.keys())
        for tp, run in records.items():
            if self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
                return  # the partitions are being revoked, and the records will be fetched again
            self.accept_lower_offsets(tp)
            messages = self._messages(tp, run, generation)
            self._skip(skipped, skipped.keys() & {tp})
            for message in messages:
                yield tp, message

    def _skip(self, skipped: Mapping[TP, tuple[int, int]], tps: Iterable[TP]) -> None:
        """Tell the ledger which offsets at the end of these partitions are not delivered, after the preceding batch."""
        for tp in tps:
            if self.table_of(tp) is None:
                self.ledger.skip(tp, *skipped[tp])

    def _messages(self, tp: TP, run: list[Any], generation: int) -> list[Any]:
        """What Faust receives of a fetched run."""
        table = self.table_of(tp)
        if table is None:
            return [self.ledger.add(Batch(tp, run, generation))]
        if hasattr(table, "restore"):
            table.restore(tp.partition, run)
            return [self.to_message(tp, run[-1])]
        return [self.to_message(tp, record) for record in run]

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Await the first coroutine without a task if it does not have to wait.

        Faust calls this for each message, with its delivery and the suspension of the flow, and creates four tasks.
        """
        if self.should_stop or not all(map(iscoroutine, coros)):
            return await super().wait_first(*coros, timeout=timeout)
        first, *others = coros
        eager = Eager(first)
        if eager.waits:
            return await super().wait_first(eager, *others, timeout=timeout)
        for other in others:
            other.close()
        return WaitResults([first], [await eager], False)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """The end offsets of these partitions. Faust's Recovery calls this first; tables that are ahead are reset."""
        ends = await super().highwaters(*partitions)
        if self.phase is Phase.RESTORING:
            for tp, end in ends.items():
                self._reset_table_beyond(tp, end)
        return ends

    def _reset_table_beyond(self, tp: TP, end: int) -> None:
        table, tables = self.table_of(tp), cast(Any, self.app.tables)
        if hasattr(table, "reset_if_ahead") and table.reset_if_ahead(tp.partition, end):
            tables.recovery.active_offsets[tp] = NO_OFFSET

    # -- acknowledging

    def ack(self, message: Any) -> bool:
        """Acknowledge a message to Faust only; the ledger keeps the offsets."""
        first, message.acked = not message.acked, True
        self.stop_tracking(message)
        return first

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what is finished."""
        return await self.commits.commit()

    async def wait_empty(self) -> None:
        """Drain; called before partitions are revoked and before a stop."""
        await self.commits.drain(self.transport.drain_s)
        await on_revoke.repair_changelogs(self, self.phase)

    # -- rebalances

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let Faust stop the flow, drain and commit; then drop everything that belongs to the old assignment.

        That includes rows which the drain did not wait for: the next lease must not release them.
        """
        before, self.phase = self.phase, Phase.REVOKED
        await super().on_partitions_revoked(revoked)
        await on_revoke.repair_changelogs(self, before)
        self.transport.rows.purge()
        self.ledger.forget()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start a new assignment with its changelogs."""
        self.ledger.forget()
        self.transport.lease.renew()
        self.phase = Phase.RESTORING
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Seek to the committed offsets; from now on the streams may flow as soon as Faust resumes them."""
        generation = self.app.consumer_generation_id
        self.ledger.forget()
        await super().perform_seek()
        if self.phase is Phase.RESTORING and generation == self.app.consumer_generation_id:
            self.phase = Phase.POSITIONED

    def resume_flow(self) -> None:
        """Called twice in a rebalance: for the changelogs, and after the seek for the streams."""
        if self.phase is Phase.POSITIONED:
            self.phase = Phase.STREAMING
        if self.phase is not Phase.REVOKED:
            super().resume_flow()

    async def seek(self, partition: TP, offset: int) -> None:
        """Continue at this offset; batches fetched before do not count any more."""
        self.ledger.forget({partition})
        await super().seek(partition, offset)

    async def start_over(self, topics: Collection[str]) -> bool:
        """Read the assigned partitions of these topics, except changelogs, from their beginning.

        Records that were read before are delivered again; `Ledger` detects that the offsets start again. Returns False
        and does nothing during a rebalance.
        """
        if self.phase is not Phase.STREAMING:
            return False
        await self.thread.start_over([name for name in topics if self.table_of(TP(name, 0)) is None])
        return True

    # -- watchdogs

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: Faust's detector compares monotonic with epoch time. The watchdog replaces it."""

    @Service.task
    async def _watchdog(self) -> None:
        """Crash rather than stay alive and consume nothing."""
        error = None
        while not (error or self.should_stop):
            await self.sleep(1.0)
            await self._crash_on(error := problem(self))

    @Service.task
    async def _broker_probe(self) -> None:
        """Crash if a librdkafka client has lost all brokers."""
        probe, error = BrokerProbe(self), None
        while not (error or self.should_stop):
            await self.sleep(PROBE_INTERVAL_S)
            await self._crash_on(error := await probe.problem())

    async def _crash_on(self, error: BaseException | None) -> None:
        if error is not None:
            log.error("crashing the worker", reason=str(error), error=type(error).__name__)
            await self.app.crash(error)
