"""Faust's consumer, handing out batches and knowing in which phase of a rebalance it is."""

from asyncio import iscoroutine
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service
from mode.services import WaitResults

from saga_app.stream.brokers import LOOK_S, BrokerProbe
from saga_app.stream.consume import on_revoke
from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.commits import Commits
from saga_app.stream.consume.eager import Eager
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.consume.phase import Phase
from saga_app.stream.consume.thread import Thread
from saga_app.stream.consume.watchdog import problem
from saga_app.stream.table.rows import NOTHING

if TYPE_CHECKING:
    from saga_app.stream.transport import Transport


class Consumer(driver.Consumer):
    """One Faust message per fetched run of records; the offsets are kept in a Ledger."""

    transport: "Transport"
    _thread: Thread

    def __init__(self, transport: "Transport", *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger(transport.max_inflight)
        self.commits = Commits(self)
        self.phase = Phase.REVOKED
        self.alive_at = monotonic()
        super().__init__(transport, *args, **kwargs)

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, loop=self.loop, beacon=self.beacon)

    # -- fetching

    def fetchable(self) -> frozenset[TP]:
        """Partitions to read from now (called from both threads)."""
        if self.phase is Phase.REVOKED or not self.flow_active:
            return frozenset()
        tps = self._active_partitions | self._buffered_partitions
        return frozenset(tp for tp in tps if self.phase is Phase.STREAMING or self._table(tp) is not None)

    def _table(self, tp: TP) -> Any:
        """The table whose changelog this is, or None."""
        tables: Any = self.app.tables
        return tables._changelogs.get(tp.topic)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Yield batches; a changelog run goes straight to its table, only its last record takes Faust's way."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        self.alive_at = monotonic()
        if not await self.ledger.wait_for_room(timeout):
            return
        active = self.fetchable()
        if not active:
            await self.sleep(0.05)
            return
        records = await self._getmany(set(active), timeout if self.phase is Phase.STREAMING else 0.1)
        generation, passed = self.app.consumer_generation_id, self._thread.take_passed()
        if self.should_stop or not self.flow_active:
            return
        self._pass(passed, passed.keys() - records.keys())
        for tp, run in records.items():
            if self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
                return  # the partitions are being revoked: they will be fetched again
            # Else Faust drops what a topic that was created again has at offsets that it has seen.
            self._read_offset.pop(tp, None)
            messages = self._messages(tp, run, generation)
            self._pass(passed, passed.keys() & {tp})
            for message in messages:
                yield tp, message

    def _pass(self, passed: Mapping[TP, tuple[int, int]], tps: Iterable[TP]) -> None:
        """What is not delivered at the end of these partitions; after the batch that comes before it."""
        for tp in tps:
            if self._table(tp) is None:
                self.ledger.passed(tp, *passed[tp])

    def _messages(self, tp: TP, run: list[Any], generation: int) -> list[Any]:
        """What Faust gets to see of a fetched run."""
        table = self._table(tp)
        if table is None:
            return [self.ledger.add(Batch(tp, run, generation))]
        if hasattr(table, "restore"):
            table.restore(tp.partition, run)
            return [self._to_message(tp, run[-1])]
        return [self._to_message(tp, record) for record in run]

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Faust waits so for each message, until it is delivered or the flow is suspended: with four tasks.

        What need not wait needs none.
        """
        if self._stopped.is_set() or self._crashed.is_set() or not all(map(iscoroutine, coros)):
            return await super().wait_first(*coros, timeout=timeout)
        first, *others = coros
        eager = Eager(first)
        if eager.waits:
            return await super().wait_first(eager, *others, timeout=timeout)
        for other in others:
            other.close()
        return WaitResults([first], [await eager], False)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """The ends of these partitions. Faust's Recovery asks here first: a table that is ahead begins again."""
        ends = await super().highwaters(*partitions)
        if self.phase is Phase.RESTORING:
            for tp, end in ends.items():
                self._start_over_beyond(tp, end)
        return ends

    def _start_over_beyond(self, tp: TP, end: int) -> None:
        table, tables = self._table(tp), cast(Any, self.app.tables)
        if hasattr(table, "restart_beyond") and table.restart_beyond(tp.partition, end):
            tables.recovery.active_offsets[tp] = NOTHING

    # -- acknowledging

    def ack(self, message: Any) -> bool:
        """Faust's view of a message; the offsets are the ledger's business."""
        first, message.acked = not message.acked, True
        self._unacked_messages.discard(message)
        return first

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Holes in the offsets need no bookkeeping."""

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what is finished."""
        return await self.commits.commit()

    async def wait_empty(self) -> None:
        """Called before partitions are given back and before a stop."""
        await self.commits.drain(self.transport.drain_s)
        await on_revoke.mend(self, self.phase)

    # -- rebalances

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Faust stops the flow, drains and commits; after that nothing of the old assignment counts.

        Rows that the drain has not waited for belong to nobody: the next lease must not let them out.
        """
        before, self.phase = self.phase, Phase.REVOKED
        await super().on_partitions_revoked(revoked)
        await on_revoke.mend(self, before)
        self.transport.rows.purge()
        self.ledger.forget()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """A new assignment: first the changelogs."""
        self.ledger.forget()
        self.transport.lease.renew()
        self.phase = Phase.RESTORING
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Start over at the committed offsets; the streams may flow when Faust resumes them next."""
        generation = self.app.consumer_generation_id
        self.ledger.forget()
        await super().perform_seek()
        if self.phase is Phase.RESTORING and generation == self.app.consumer_generation_id:
            self.phase = Phase.SOUGHT

    def resume_flow(self) -> None:
        """Called twice in a rebalance: for the changelogs, and after the seek for the streams."""
        if self.phase is Phase.SOUGHT:
            self.phase = Phase.STREAMING
        if self.phase is not Phase.REVOKED:
            super().resume_flow()

    async def seek(self, partition: TP, offset: int) -> None:
        """Start over there; nothing fetched before counts."""
        self.ledger.forget({partition})
        await super().seek(partition, offset)

    async def start_over(self, topics: Collection[str]) -> bool:
        """Read the assigned partitions of these topics from their beginning; changelogs are left alone.

        What was read of them already comes again; `Ledger` sees that the offsets begin again. During a rebalance
        nothing is done, and the result is False.
        """
        if self.phase is not Phase.STREAMING:
            return False
        await self._thread.start_over([name for name in topics if self._table(TP(name, 0)) is None])
        return True

    # -- watching

    async def verify_all_partitions_active(self) -> None:
        """Faust's detector compares monotonic with epoch time and can only mislead; see the watchdog."""

    @Service.task
    async def _watchdog(self) -> None:
        """Rather crash and be restarted than stay alive and consume nothing."""
        error = None
        while not (error or self.should_stop):
            await self.sleep(1.0)
            await self._end_with(error := problem(self))

    @Service.task
    async def _questions(self) -> None:
        """Likewise for what only a question shows."""
        looks, error = BrokerProbe(self), None
        while not (error or self.should_stop):
            await self.sleep(LOOK_S)
            await self._end_with(error := await looks.problem())

    async def _end_with(self, error: BaseException | None) -> None:
        if error is not None:
            self.log.error("crashing the worker: %r", error)
            await self.app.crash(error)
