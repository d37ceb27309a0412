"""The saga rows in the Provisioner's table: read, apply, write."""

from typing import Any, Protocol

import structlog

from saga_app.saga import machine
from saga_app.saga.messages import BadMessage, Row, decode, encode
from saga_app.service.room import ChangelogRoom

log = structlog.get_logger()


class RawTable(Protocol):
    """What is needed of the stream layer's table."""

    def read(self, partition: int, key: bytes) -> bytes | None: ...
    def write(self, receipt: Any, partition: int, key: bytes, value: bytes | None) -> None: ...


class Rows:
    """One row a saga, on the partition of its id."""

    def __init__(self, table: RawTable, room: ChangelogRoom | None = None) -> None:
        self.table, self.room = table, room

    def get(self, partition: int, id: str) -> Row | None:
        """The row, or None. One that cannot be read counts as none: the messages carry all that it held."""
        value = self.table.read(partition, id.encode())
        if value is None:
            return None
        try:
            return decode(Row, value)
        except BadMessage as error:
            log.error("row unreadable, it is made anew", saga=id, partition=partition, problem=str(error))
            return None

    def note(self, receipt: Any, partition: int, news: Row) -> Row:
        """Apply what is new and write the row if that changed it; the receipt covers the changelog."""
        row = self.get(partition, news.id)
        changed = machine.apply(row, news)
        if changed is not row:
            self._write(receipt, partition, changed)
        return changed

    def mark(self, receipt: Any, partition: int, row: Row, marked: Row) -> None:
        """Write a row that a signal has marked, if it did."""
        if marked is not row:
            self._write(receipt, partition, marked)

    def _write(self, receipt: Any, partition: int, row: Row) -> None:
        value = encode(row)
        self.table.write(receipt, partition, row.id.encode(), value)
        if self.room is not None:
            self.room.wrote(partition, row, value)
