"""A table of bytes whose changelog records are acknowledged before a record counts as done."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, NamedTuple, cast

import structlog
from confluent_kafka import KafkaError
from faust.types import TP, AppT

from saga_app.stream.produce.batching_producer import BURST_INTERVAL_S, Report
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.produce.refusal import Refused
from saga_app.stream.table import memory_store, rocks_store
from saga_app.stream.table.changelog_repair import ChangelogRepair, keys_at
from saga_app.stream.table.key_lock import KeyLock, KeyLocks
from saga_app.stream.table.rows import Row, RowStore
from saga_app.stream.transport import Transport
from saga_app.stream.upstream.faust import TableHooks

log = structlog.get_logger()

_STORES: Mapping[str, Any] = {"memory": memory_store.new, "rocksdb": rocks_store.new}

#: The row of a fetched record.
_ROW = attrgetter("key", "value")

#: Marks a key without unacknowledged writes.
_NOT_PENDING: Any = object()


class _Write(NamedTuple):
    """An unacknowledged row, and the generation of the assignment in which it was written."""

    report: Report
    generation: int
    partition: int
    key: bytes
    value: bytes | None


class Table(TableHooks):
    """Keys and values are bytes; `read` and `write` take the partition of the record that is being handled.

    A write is visible to `read` immediately (it is pending). Writes are sent to the changelog in the order of the
    calls, and applied to the store when the changelog has acknowledged them. `rows`, iteration and `table[key]` (for
    web views) show the acknowledged rows of all owned partitions.
    """

    data: Any  # a RowStore that is also a Faust store

    def __init__(self, app: AppT, *, name: str, **kwargs: Any) -> None:
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, **kwargs)
        tables: Any = app.tables
        tables.add(self)
        self._pending: dict[tuple[int, bytes], bytes | None] = {}
        self._outdated: defaultdict[tuple[int, bytes], list[Report]] = defaultdict(list)
        self._acked: defaultdict[int, list[Row]] = defaultdict(list)
        self._offsets: defaultdict[int, list[int]] = defaultdict(list)
        self._repair = ChangelogRepair(self._keys_at, self._rewrite)
        self._locks: KeyLocks = {}
        self._broken = False
        #: Called with the timestamp (type and milliseconds, as from librdkafka) of one acknowledged row of each burst.
        self.on_acknowledged: Callable[[int, int], None] | None = None

    def new_store(self, url: Any) -> Any:
        """The store of this table."""
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
        """Cached, because Faust builds the name at each access."""
        return str(self.changelog_topic_name)

    @property
    def _generation(self) -> int:
        return self.app.consumer_generation_id

    # -- for handlers

    def read(self, partition: int, key: bytes) -> bytes | None:
        """The row as of the latest write in this process, or None."""
        row: bytes | None = self._pending.get((partition, key), _NOT_PENDING)
        return self.store.read(partition, key) if row is _NOT_PENDING else row

    def write(self, outputs: Outputs, partition: int, key: bytes, value: bytes | None) -> None:
        """Set the row (None deletes it); `outputs` waits for the acknowledgement of its changelog record."""
        self._pending[partition, key] = value
        self._put(_Write(outputs.expect(), self._generation, partition, key, value))

    def lock(self, partition: int, key: bytes) -> "KeyLock":
        """A lock of this key, to be used with `async with` by handlers that await between a read and a write."""
        return KeyLock(self._locks, (partition, key))

    async def wait_until_owned(self) -> None:
        """Wait until it is certain that this worker owns its partitions. Raises `Fenced` if it does not any more.

        Call it before an irreversible action: after a freeze, another worker may have handled the record already.
        """
        lease = cast(Transport, self.app.transport).lease
        while not lease.holds():
            await asyncio.sleep(BURST_INTERVAL_S)

    def rows(self, after: tuple[int, bytes] | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Acknowledged rows that this worker owns: partition, key and value, ordered by partition and key.

        `after`: partition and key of the last row that is not wanted. A view should read pages and await between them:
        a million rows in RocksDB take 8 s.
        """
        first, last_key = after or (0, None)
        for partition in self.store.partitions():
            if partition >= first:
                for key, value in self.store.rows(partition, last_key if partition == first else None):
                    yield partition, key, value

    # -- writing: changelog, acknowledgement, store

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
        """Collect acknowledged rows; those of one poll are applied in one write, before their outputs complete."""
        current = write.generation == self._generation
        if current and is_timeout(error):
            self._retry(write)
            return
        if current and isinstance(error, Refused):
            self._discard(write, error)
        if current and error is None:
            rows = self._acked[write.partition]
            if not rows:
                if self.on_acknowledged is not None:
                    self.on_acknowledged(*message.timestamp())
                asyncio.get_running_loop().call_soon(self._flush, write.generation, write.partition)
            rows.append((write.key, write.value))
            self._offsets[write.partition].append(message.offset())
        write.report(error, message)

    def _retry(self, write: _Write) -> None:
        """A row timed out, because of fencing or an outage. The newest row of a key is sent again, if the lease holds.

        An older one is not, because it would overwrite the newer one: it is reported when that is acknowledged.
        """
        place = (write.partition, write.key)
        if place not in self._pending:
            write.report(None, None)
        elif self._pending[place] is write.value:
            self._put(write)
        else:
            self._outdated[place].append(write.report)

    def _discard(self, write: _Write, refusal: Refused) -> None:
        """The broker refused this row: undo the write, unless a newer one of its key is pending."""
        place = (write.partition, write.key)
        if self._pending.get(place, _NOT_PENDING) is write.value:
            del self._pending[place]
            for report in self._outdated.pop(place, ()):
                report(refusal, None)

    def _flush(self, generation: int, partition: int) -> None:
        """Apply acknowledged rows: they are in the order of the changelog, because the producer is idempotent."""
        rows, offsets = self._acked.pop(partition, []), self._offsets.pop(partition, [])
        if not rows or generation != self._generation:
            return  # the partition is no longer ours
        have = self.store.persisted_offset(TP(self.changelog_topic_name, partition))
        if offsets[0] <= have:
            self._fail(RuntimeError(f"{self._changelog}[{partition}] {recreated_message(have, offsets[0])}"))
            return
        # A gap means that another worker wrote here: keep the offset, so that the next recovery reads its rows.
        whole = have + len(rows) == offsets[-1]
        try:
            self.store.apply(partition, rows, offsets[-1] if whole else have)
        except Exception as error:
            self._fail(error)
            return
        self._repair.check(partition, have, offsets)
        for key, value in rows:
            if self._pending.get((partition, key)) is value:
                del self._pending[partition, key]
                for report in self._outdated.pop((partition, key), ()):
                    report(None, None)

    def _fail(self, error: Exception) -> None:
        """Crash the worker: the store cannot follow its changelog any more."""
        if not self._broken:
            self._broken = True
            app: Any = self.app
            log.error("table not writable, crashing the worker", table=self.name, reason=str(error))
            self._crashing = asyncio.ensure_future(app.crash(error))

    async def repair_changelog(self, partition: int, end: int) -> None:
        """Write own rows again that other workers have overwritten, and wait for the acknowledgements.

        `end`: the end offset of the partition's changelog; no row may be pending.
        """
        have = self.store.persisted_offset(TP(self._changelog, partition))
        await self._repair.finish(partition, have, end)
        while self._pending:
            await asyncio.sleep(BURST_INTERVAL_S)

    async def _keys_at(self, partition: int, offsets: Sequence[int]) -> set[bytes]:
        transport = cast(Transport, self.app.transport)
        return await keys_at(transport.bootstrap, self.changelog_topic_name, partition, offsets)

    def _rewrite(self, partition: int, key: bytes) -> None:
        value = self.read(partition, key)
        if value is not None:  # None: a foreign row of a new key, whose record will be delivered again
            self.write(cast(Transport, self.app.transport).new_outputs(), partition, key, value)

    def on_key_set(self, key: Any, value: Any) -> None:
        """Refuse `table[key] = value`: its acknowledgement could not be awaited."""
        raise TypeError("use table.write(outputs, partition, key, value)")

    def on_key_del(self, key: Any) -> None:
        """Refuse `del table[key]` for the same reason."""
        raise TypeError("use table.write(outputs, partition, key, None)")

    # -- recovery

    def restore(self, partition: int, records: list[Any]) -> None:
        """Apply consecutive changelog records to the store; skip those that it already has."""
        have = self.store.persisted_offset(TP(self.changelog_topic_name, partition))
        if records[-1].offset > have:
            rows = [_ROW(r) for r in records if r.offset > have and r.key is not None]  # own rows have keys
            try:
                self.store.apply(partition, rows, records[-1].offset)
            except Exception as error:
                self._fail(error)
                raise

    def reset_if_ahead(self, partition: int, end: int) -> bool:
        """Before a recovery, empty a partition that is ahead of its changelog, which ends at offset `end`.

        Then the topic was deleted and recreated, or the broker lost its last records. Returns whether that was so.
        """
        have = self.store.persisted_offset(TP(self._changelog, partition))
        if have < end:
            return False
        where = self.store.set_aside(partition)
        log.warning(
            "table is ahead of its changelog, rebuilding it",
            table=self.name,
            changelog=f"{self._changelog}[{partition}]",
            read_up_to=have,
            changelog_end=end,
            old_rows=where,
        )
        return True

    def apply_changelog_batch(self, batch: Any) -> None:
        """Do nothing: `restore` has already applied what Faust's Recovery passes here."""

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Drop what is still pending: the old assignment was drained, so it was never acknowledged."""
        self._pending.clear()
        self._acked.clear()
        self._offsets.clear()
        self._repair.forget()
        for reports in self._outdated.values():
            for report in reports:
                report(KafkaError(KafkaError._PURGE_QUEUE), None)
        self._outdated.clear()
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)


def recreated_message(have: int, offset: int) -> str:
    """For a changelog that acknowledges a row at an offset that the store already has."""
    return (
        f"was deleted and created again: it has acknowledged offset {offset}, and the table was read up to {have}; "
        "the worker exits, and rebuilds its table from the topic when it is started again"
    )


def is_timeout(error: Any) -> bool:
    """Whether librdkafka gave up on a message because of its age."""
    return isinstance(error, KafkaError) and error.code() == KafkaError._MSG_TIMED_OUT
