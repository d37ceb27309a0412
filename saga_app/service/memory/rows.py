"""The saga rows in the Provisioner's table: read, join with new information, write."""

from collections.abc import Callable
from typing import Any, Protocol

import structlog

from saga_app.saga import saga_row
from saga_app.saga.codec import BadMessage, decode, encode
from saga_app.saga.messages import Row
from saga_app.stream.table.key_lock import KeyLock

log = structlog.get_logger()


class RawTable(Protocol):
    """The part of the stream layer's table that is needed here."""

    def read(self, partition: int, key: bytes) -> bytes | None: ...
    def write(self, outputs: Any, partition: int, key: bytes, value: bytes | None) -> None: ...
    def lock(self, partition: int, key: bytes) -> KeyLock: ...


#: Called with partition, row and encoded row after each write.
Watcher = Callable[[int, Row, bytes], None]


class Rows:
    """Reads and writes saga rows: one per saga, on the partition of its id. `watchers` are called after each write."""

    def __init__(self, table: RawTable, *watchers: Watcher) -> None:
        self.table, self.watchers = table, watchers

    def lock(self, partition: int, id: str) -> KeyLock:
        """Lock a saga: other requests of it wait until the outputs of this one are visible in the table."""
        return self.table.lock(partition, id.encode())

    def get(self, partition: int, id: str) -> Row | None:
        """The row of a saga, or None. An unreadable row counts as none: the messages carry all of its contents."""
        value = self.table.read(partition, id.encode())
        if value is None:
            return None
        try:
            row = decode(Row, value)
            if row.id != id:
                raise BadMessage(f"it belongs to saga {row.id}")
            return row
        except BadMessage as error:
            log.error("row unreadable, rebuilding it from messages", saga=id, partition=partition, problem=str(error))
            return None

    def join(self, outputs: Any, partition: int, news: Row) -> Row:
        """Join the stored row with new information, write it if it changed, and return it.

        `outputs` are acknowledged only when the changelog has the row.
        """
        return self.advance(outputs, partition, self.get(partition, news.id), news)

    def advance(self, outputs: Any, partition: int, row: Row | None, news: Row) -> Row:
        """Like `join()`, for a caller that already holds the current row."""
        changed = saga_row.join(row, news)
        if changed is not row:
            self._write(outputs, partition, changed)
        return changed

    def write_if_changed(self, outputs: Any, partition: int, row: Row, changed: Row) -> None:
        """Write `changed` without a join, unless it is the same object as `row`."""
        if changed is not row:
            self._write(outputs, partition, changed)

    def rewrite(self, outputs: Any, partition: int, row: Row) -> None:
        """Write an unchanged row again, so that these `outputs` include its acknowledgement."""
        self._write(outputs, partition, row)

    def _write(self, outputs: Any, partition: int, row: Row) -> None:
        value = encode(row)
        self.table.write(outputs, partition, row.id.encode(), value)
        for watcher in self.watchers:
            watcher(partition, row, value)
