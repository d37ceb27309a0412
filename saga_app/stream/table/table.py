"""A table of raw rows whose changelog is acknowledged before a record counts as done."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, NamedTuple, cast

import faust
from confluent_kafka import KafkaError
from faust.types import TP, AppT

from saga_app.stream.produce.batching_producer import TICK_S, Report
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.produce.refusal import Refused
from saga_app.stream.table import memory_store, rocks_store
from saga_app.stream.table.changelog_repair import Mender, keys_at
from saga_app.stream.table.key_lock import KeyLock, KeyLocks
from saga_app.stream.table.rows import Row, RowStore
from saga_app.stream.transport import Transport

_STORES: Mapping[str, Any] = {"memory": memory_store.new, "rocksdb": rocks_store.new}


#: Of a fetched record.
_ROW = attrgetter("key", "value")

#: No write of this row is under way.
_SETTLED: Any = object()


class _Write(NamedTuple):
    """A row on its way to the changelog, and the assignment under which it was written."""

    report: Report
    generation: int
    partition: int
    key: bytes
    value: bytes | None


class Table(faust.Table[bytes, bytes]):
    """Bytes to bytes; `read` and `write` name the partition of the record that is being handled.

    A write is visible to `read` at once (it is pending), goes to the changelog in the order
    of the calls, and reaches the store when the changelog has acknowledged it.
    `rows`, iteration and `table[key]` (web views) see the acknowledged rows of all owned partitions.
    """

    data: Any  # a RowStore, which Faust sees as one of its stores

    def __init__(self, app: AppT, *, name: str, **kwargs: Any) -> None:
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, **kwargs)
        tables: Any = app.tables
        tables.add(self)
        self._pending: dict[tuple[int, bytes], bytes | None] = {}
        self._outdated: defaultdict[tuple[int, bytes], list[Report]] = defaultdict(list)
        self._acked: defaultdict[int, list[Row]] = defaultdict(list)
        self._offsets: defaultdict[int, list[int]] = defaultdict(list)
        self._mender = Mender(self._keys_at, self._write_again)
        self._locks: KeyLocks = {}
        self._broken = False
        #: Gets kind and milliseconds of an acknowledged row's timestamp, as librdkafka gives them: one of each burst.
        self.on_acknowledged: Callable[[int, int], None] | None = None

    def _new_store_by_url(self, url: Any) -> Any:
        return _STORES[url.scheme](
            url,
            self.app,
            self,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            loop=self.loop,
            options=self.options,
        )

    @property
    def store(self) -> RowStore:
        """The acknowledged rows."""
        return cast(RowStore, self.data)

    @cached_property
    def _changelog(self) -> str:
        """Faust makes the name anew each time."""
        return str(self.changelog_topic_name)

    @property
    def _generation(self) -> int:
        return self.app.consumer_generation_id

    # -- for handlers

    def read(self, partition: int, key: bytes) -> bytes | None:
        """The row as of the latest write in this process, or None."""
        row: bytes | None = self._pending.get((partition, key), _SETTLED)
        return self.store.read(partition, key) if row is _SETTLED else row

    def write(self, outputs: Outputs, partition: int, key: bytes, value: bytes | None) -> None:
        """Set the row (None deletes); the receipt covers its changelog record."""
        self._pending[partition, key] = value
        self._put(_Write(outputs.expect(), self._generation, partition, key, value))

    def locked(self, partition: int, key: bytes) -> "KeyLock":
        """`async with` it to keep other handlers of this key out, for an await between read and write.

        Not needed when a handler reads and writes without awaiting in between.
        """
        return KeyLock(self._locks, (partition, key))

    async def owned(self) -> None:
        """Wait until it is certain that this worker owns its partitions. Raises `Fenced` when it does not any more.

        For what cannot be undone: a worker that was frozen finds itself in the middle of what another has done since.
        """
        lease = cast(Transport, self.app.transport).lease
        while not lease.holds():
            await asyncio.sleep(TICK_S)

    def rows(self, after: tuple[int, bytes] | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Acknowledged rows that this worker owns: partition, key, value, by partition and key; those behind `after`.

        In a view take them in portions with an await in between: a million rows in RocksDB last 8 s.
        """
        first, behind = after or (0, None)
        for partition in self.store.partitions():
            if partition >= first:
                for key, value in self.store.rows(partition, behind if partition == first else None):
                    yield partition, key, value

    # -- the way of a write: changelog, acknowledgement, store

    def _put(self, write: _Write) -> None:
        cast(Transport, self.app.transport).rows.put(
            self._changelog,
            write.key,
            write.value,
            headers=None,
            partition=write.partition,
            report=partial(self._on_ack, write),
        )

    def _on_ack(self, write: _Write, error: Any, message: Any) -> None:
        """Collect acknowledged rows; the store gets those of one poll in one write, before the receipt is settled."""
        current = write.generation == self._generation
        if current and timed_out(error):
            self._again(write)
            return
        if current and isinstance(error, Refused):
            self._forget(write, error)
        if current and error is None:
            rows = self._acked[write.partition]
            if not rows:
                if self.on_acknowledged is not None:
                    self.on_acknowledged(*message.timestamp())
                asyncio.get_running_loop().call_soon(self._flush, write.generation, write.partition)
            rows.append((write.key, write.value))
            self._offsets[write.partition].append(message.offset())
        write.report(error, message)

    def _again(self, write: _Write) -> None:
        """The fence or an outage.  The newest row of a key is put again, if the lease still lets it; an older one is
        not, or it would overwrite the newer: it is done when that is.
        """
        place = (write.partition, write.key)
        if place not in self._pending:
            write.report(None, None)
        elif self._pending[place] is write.value:
            self._put(write)
        else:
            self._outdated[place].append(write.report)

    def _forget(self, write: _Write, refusal: Refused) -> None:
        """The changelog does not take this row: it was never written, unless a newer one of its key is under way."""
        place = (write.partition, write.key)
        if self._pending.get(place, _SETTLED) is write.value:
            del self._pending[place]
            for report in self._outdated.pop(place, ()):
                report(refusal, None)

    def _flush(self, generation: int, partition: int) -> None:
        """Idempotence has kept the order of the calls, so these rows are in the order of the changelog."""
        rows, offsets = self._acked.pop(partition, []), self._offsets.pop(partition, [])
        if not rows or generation != self._generation:
            return  # the partition is no longer ours
        have = self.store.persisted_offset(TP(self.changelog_topic_name, partition))
        if offsets[0] <= have:
            self._unwritable(RuntimeError(f"{self._changelog}[{partition}] {recreated(have, offsets[0])}"))
            return
        # A gap means that somebody else wrote here; the next recovery shall read it.
        whole = have + len(rows) == offsets[-1]
        try:
            self.store.apply(partition, rows, offsets[-1] if whole else have)
        except Exception as error:
            self._unwritable(error)
            return
        self._mender.check(partition, have, offsets)
        for key, value in rows:
            if self._pending.get((partition, key)) is value:
                del self._pending[partition, key]
                for report in self._outdated.pop((partition, key), ()):
                    report(None, None)

    def _unwritable(self, error: Exception) -> None:
        """End: the store must be a prefix of the changelog, and it stands still."""
        if not self._broken:
            self._broken = True
            app: Any = self.app
            app.log.error("table %s: %s", self.name, error)
            self._crashing = asyncio.ensure_future(app.crash(error))

    async def mend(self, partition: int, end: int) -> None:
        """Write our rows behind those that others have put behind them, and wait for that.

        `end`: the offset behind the last row of the partition's changelog; none of our rows is under way.
        """
        have = self.store.persisted_offset(TP(self._changelog, partition))
        await self._mender.finish(partition, have, end)
        while self._pending:
            await asyncio.sleep(TICK_S)

    async def _keys_at(self, partition: int, offsets: Sequence[int]) -> set[bytes]:
        transport = cast(Transport, self.app.transport)
        return await keys_at(transport.bootstrap, self.changelog_topic_name, partition, offsets)

    def _write_again(self, partition: int, key: bytes) -> None:
        value = self.read(partition, key)
        if value is not None:  # else it is a row that nobody has overwritten, of a record that comes again
            self.write(cast(Transport, self.app.transport).new_outputs(), partition, key, value)

    def on_key_set(self, key: Any, value: Any) -> None:
        """Refuse `table[key] = value`: nobody would wait for its changelog."""
        raise TypeError("use table.write(receipt, partition, key, value)")

    def on_key_del(self, key: Any) -> None:
        """Refuse `del table[key]` likewise."""
        raise TypeError("use table.write(receipt, partition, key, None)")

    # -- recovery

    def restore(self, partition: int, records: list[Any]) -> None:
        """Apply a fetched run of the changelog, without what the store already has."""
        have = self.store.persisted_offset(TP(self.changelog_topic_name, partition))
        if records[-1].offset > have:
            rows = [_ROW(r) for r in records if r.offset > have and r.key is not None]  # a row of ours has a key
            try:
                self.store.apply(partition, rows, records[-1].offset)
            except Exception as error:
                self._unwritable(error)
                raise

    def restart_beyond(self, partition: int, end: int) -> bool:
        """Before a recovery: begin again with no rows if the store is ahead of the changelog, which ends at `end`.

        Then the topic was deleted and created again, or the broker has lost its end. Returns whether that was so.
        """
        have = self.store.persisted_offset(TP(self._changelog, partition))
        if have < end:
            return False
        where = self.store.set_aside(partition)
        app: Any = self.app
        place = f"{self._changelog}[{partition}]"
        app.log.warning(
            "table %s was read from %s up to offset %d, which ends at %d: the topic was deleted and created again, or "
            "has lost records. The old rows are now in %s; the table is rebuilt from what the topic holds",
            *(self.name, place, have, end, where),
        )
        return True

    def apply_changelog_batch(self, batch: Any) -> None:
        """Nothing: `restore` has already applied what Faust's Recovery hands over here."""

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """The old assignment was drained and flushed; what is still pending was never acknowledged."""
        self._pending.clear()
        self._acked.clear()
        self._offsets.clear()
        self._mender.forget()
        for reports in self._outdated.values():
            for report in reports:
                report(KafkaError(KafkaError._PURGE_QUEUE), None)
        self._outdated.clear()
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)


def recreated(have: int, offset: int) -> str:
    """What to say of a changelog that acknowledges a row at an offset which the store already has."""
    return (
        f"was deleted and created again: it has acknowledged offset {offset}, and the table was read up to {have}; "
        "the worker ends, and rebuilds its table from the topic when it is started again"
    )


def timed_out(error: Any) -> bool:
    """Whether librdkafka gave up on a message because of its age."""
    return isinstance(error, KafkaError) and error.code() == KafkaError._MSG_TIMED_OUT
