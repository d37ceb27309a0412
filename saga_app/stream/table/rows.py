"""What a table's store does, whatever it keeps its rows in.

A store is, at every moment, a prefix of its changelog partition.  Rows are applied only when the changelog has
acknowledged them, together with the offset up to which the store is complete.  So a crash leaves
no row that the changelog does not know, a recovery reads only what is missing, also for the
memory store after a rebalance, and a revoked partition takes its rows with it.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from faust.types import TP

#: A key and its value; None deletes.
Row = tuple[bytes, bytes | None]

#: "I have nothing": unlike None it also overrides what Faust's Recovery remembers of an earlier assignment.
NOTHING = -1


class RowStore(Protocol):
    """Rows by partition."""

    def read(self, partition: int, key: bytes) -> bytes | None:
        """The row, or None; None too when the partition is not here."""

    def partitions(self) -> list[int]:
        """The partitions that are here."""

    def rows(self, partition: int, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The rows of a partition in the order of their keys, those behind `after` only."""

    def apply(self, partition: int, rows: Iterable[Row], offset: int) -> None:
        """Apply rows in order and remember that the store is complete up to `offset`."""

    def set_aside(self, partition: int) -> str:
        """Begin again with no rows of this partition; returns where the old ones are now."""

    def persisted_offset(self, tp: TP) -> int:
        """Up to which offset the store is complete; NOTHING if it is empty."""
