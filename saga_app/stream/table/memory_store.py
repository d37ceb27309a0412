"""Rows in memory: a dict for each partition."""

from collections import ChainMap
from collections.abc import Iterable, Iterator
from typing import Any

from faust.stores import memory
from faust.types import TP

from saga_app.stream.table.rows import NOTHING, Row


class MemoryStore(memory.Store[bytes, bytes]):
    """The store of `memory://`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._rows: dict[int, dict[bytes, bytes]] = {}
        self._offsets: dict[int, int] = {}
        self._show()

    def _show(self) -> None:
        """`data` is what Faust itself reads: len(), iteration, `table[key]`."""
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
            self._show()
        mine = self._rows[partition]
        for key, value in rows:
            if value is None:
                mine.pop(key, None)
            else:
                mine[key] = value
        self._offsets[partition] = offset

    def persisted_offset(self, tp: TP) -> int:
        return self._offsets.get(tp.partition, NOTHING)

    def set_aside(self, partition: int) -> str:
        """Begin again with no rows of this partition. Returns where they are now."""
        self._rows.pop(partition, None)
        self._offsets.pop(partition, None)
        self._show()
        return "nowhere: they were in memory"

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Purge what was revoked: another worker may change it from now on."""
        for tp in revoked:
            if tp.topic in self.table.changelog_topic.topics:
                self._rows.pop(tp.partition, None)
                self._offsets.pop(tp.partition, None)
        self._show()

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Nothing: purged on revoke."""

    def reset_state(self) -> None:
        """Forget everything (`faust reset`)."""
        self._rows.clear()
        self._offsets.clear()
        self._show()


def new(*args: Any, **kwargs: Any) -> MemoryStore:
    """A store as Faust makes it; what is only for RocksDB is ignored."""
    return MemoryStore(*args, **kwargs)
