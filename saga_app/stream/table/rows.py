"""The interface of a table's store, in memory or on disk.

A store is at every moment a prefix of its changelog partition. Rows are applied only after the changelog has
acknowledged them, together with the offset up to which the store is complete. So after a crash no row exists that the
changelog lacks; a recovery reads only what is missing, also for the memory store after a rebalance; and the rows of a
revoked partition are removed.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from faust.types import TP

#: A key and its value; None deletes.
Row = tuple[bytes, bytes | None]

#: The offset of an empty store. Unlike None it also overrides what Faust's Recovery knows of an earlier assignment.
NO_OFFSET = -1


class RowStore(Protocol):
    """Rows by partition."""

    def read(self, partition: int, key: bytes) -> bytes | None:
        """The row, or None; also None if the partition is not in this store."""

    def partitions(self) -> list[int]:
        """The partitions in this store, ascending."""

    def rows(self, partition: int, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The rows of a partition in the order of their keys; only those whose key is greater than `after`."""

    def apply(self, partition: int, rows: Iterable[Row], offset: int) -> None:
        """Apply rows in order, and record that the store is complete up to `offset`."""

    def set_aside(self, partition: int) -> str:
        """Empty this partition; returns where its rows are now."""

    def persisted_offset(self, tp: TP) -> int:
        """The offset up to which the store is complete; NO_OFFSET if it is empty."""
