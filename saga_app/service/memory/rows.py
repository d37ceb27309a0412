"""The saga rows in the Provisioner's table: read, apply, write."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog

from saga_app.saga import machine
from saga_app.saga.messages import BadMessage, Row, encode
from saga_app.service.memory.row_cache import RowCache

log = structlog.get_logger()


class RawTable(Protocol):
    """What is needed of the stream layer's table."""

    def read(self, partition: int, key: bytes) -> bytes | None: ...
    def write(self, outputs: Any, partition: int, key: bytes, value: bytes | None) -> None: ...
    def locked(self, partition: int, key: bytes) -> AbstractAsyncContextManager[Any]: ...


#: Told of every row that is written, with its partition and its bytes.
Watcher = Callable[[int, Row, bytes], None]


class Rows:
    """One row a saga, on the partition of its id; `watchers` are told of every row that is written."""

    def __init__(self, table: RawTable, *watchers: Watcher) -> None:
        self.table, self.watchers = table, watchers
        self.latest = RowCache(Row)

    def locked(self, partition: int, id: str) -> AbstractAsyncContextManager[Any]:
        """Keep other requests of this saga out: they wait until what this one does can be seen."""
        return self.table.locked(partition, id.encode())

    def get(self, partition: int, id: str) -> Row | None:
        """The row, or None. One that cannot be read counts as none: the messages carry all that it held."""
        value = self.table.read(partition, id.encode())
        if value is None:
            return None
        try:
            row = self.latest.read(partition, id, value)
            if row.id != id:
                raise BadMessage(f"it is the row of {row.id}")
            return row
        except BadMessage as error:
            log.error("row unreadable, it is made anew", saga=id, partition=partition, problem=str(error))
            return None

    def note(self, outputs: Any, partition: int, news: Row) -> Row:
        """Apply what is new and write the row if that changed it; the receipt covers the changelog."""
        return self.advance(outputs, partition, self.get(partition, news.id), news)

    def advance(self, outputs: Any, partition: int, row: Row | None, news: Row) -> Row:
        """The same, if it has just been got."""
        changed = machine.join(row, news)
        if changed is not row:
            self._write(outputs, partition, changed)
        return changed

    def mark(self, outputs: Any, partition: int, row: Row, marked: Row) -> None:
        """Write a row that a signal has marked, if it did."""
        if marked is not row:
            self._write(outputs, partition, marked)

    def again(self, outputs: Any, partition: int, row: Row) -> None:
        """Write a row as it is: then this receipt covers it, too."""
        self._write(outputs, partition, row)

    def _write(self, outputs: Any, partition: int, row: Row) -> None:
        value = encode(row)
        if row.ended:  # hardly anybody asks again
            self.latest.drop(partition, row.id)
        else:
            self.latest.keep(partition, row.id, value, row)
        self.table.write(outputs, partition, row.id.encode(), value)
        for watcher in self.watchers:
            watcher(partition, row, value)
