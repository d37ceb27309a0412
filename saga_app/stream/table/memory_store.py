"""Rows in memory: a dict for each partition."""

from collections import ChainMap
from collections.abc import Iterable, Iterator
from typing import Any

from faust.stores import memory
from faust.types import TP

from saga_app.stream.table.rows import NO_OFFSET, Row


class MemoryStore(memory.Store[bytes, bytes]):
    """The store of `memory://`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._rows: dict[int, dict[bytes, bytes]] = {}
        self._offsets: dict[int, int] = {}
        self._update_view()

    def _update_view(self) -> None:
        """Set `data`, which Faust reads for len(), iteration and `table[key]`."""
        self.data = ChainMap(*self._rows.values())

    def read(self, partition: int, key: bytes) -> bytes | None:
        rows = self._rows.get(partition)
        return rows.get(key) if rows is not None else None

    def partitions(self) -> list[int]:
        return sorted(self._rows)

    def rows(self, partition: int, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        held = self._rows.get(partition, {})
        yield from sorted(row for row in held.items() if after is None or row[0] > after)

    def apply(self, partition: int, rows: Iterable[Row], offset: int) -> None:
        if partition not in self._rows:
            self._rows[partition] = {}
            self._update_view()
        mine = self._rows[partition]
        for key, value in rows:
            if value is None:
                mine.pop(key, None)
            else:
                mine[key] = value
        self._offsets[partition] = offset

    def persisted_offset(self, tp: TP) -> int:
        return self._offsets.get(tp.partition, NO_OFFSET)

    def set_aside(self, partition: int) -> str:
        """Drop the rows of this partition. Returns where they are now."""
        self._rows.pop(partition, None)
        self._offsets.pop(partition, None)
        self._update_view()
        return "dropped from memory"

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Remove the rows of revoked partitions: from now on another worker may change them."""
        for tp in revoked:
            if tp.topic in self.table.changelog_topic.topics:
                self._rows.pop(tp.partition, None)
                self._offsets.pop(tp.partition, None)
        self._update_view()

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Do nothing: revoked partitions were removed in `on_rebalance`."""

    def reset_state(self) -> None:
        """Remove all rows (`faust reset`)."""
        self._rows.clear()
        self._offsets.clear()
        self._update_view()


def new(*args: Any, **kwargs: Any) -> MemoryStore:
    """Create a store with Faust's arguments for one."""
    return MemoryStore(*args, **kwargs)
