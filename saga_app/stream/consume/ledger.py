"""The fetched and uncommitted batches of each partition, in the order in which they were fetched."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from faust.types import TP

from saga_app.stream.consume.batch import Batch


class Ledger:
    """The open batches of all assigned partitions, and the limit of unfinished records.

    Faust keeps lists of acknowledged offsets and has to guess what gaps between them mean. Here the open batches of a
    partition stay in fetch order, so gaps in the offsets (compaction, transaction markers) do not matter: the
    committable offset is that of the first unfinished record. Offsets at the end of a partition that are not delivered
    are reported with `skip`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inflight = 0
        self._has_headroom = asyncio.Event()
        self._open: defaultdict[TP, deque[Batch]] = defaultdict(deque)
        self._committed: dict[TP, int] = {}
        self._floor: dict[TP, int] = {}

    def add(self, batch: Batch) -> Batch:
        """Add a batch that was just fetched; returns it."""
        batch.on_finish = self._release
        first, tp = batch.records[0].offset, batch.tp
        if first < self._end(tp):
            self._restart(tp, first)
        self._committed.setdefault(tp, first)
        self._open[batch.tp].append(batch)
        self.inflight += len(batch.records)
        return batch

    def skip(self, tp: TP, first: int, end: int) -> None:
        """No record is delivered at offsets `first` to `end - 1`: transaction markers, aborted or deleted records."""
        batches = self._open[tp]
        if not batches and end < self._end(tp):
            self._restart(tp, first)
        self._committed.setdefault(tp, first)
        if batches:
            batches[-1].offset = max(batches[-1].offset, end - 1)
        else:
            self._floor[tp] = max(self._floor.get(tp, 0), end)

    def _end(self, tp: TP) -> int:
        """The offset after everything of this partition that was fetched or skipped."""
        batches = self._open[tp]
        return batches[-1].offset + 1 if batches else max(self._floor.get(tp, 0), self._committed.get(tp, 0))

    def _restart(self, tp: TP, first: int) -> None:
        """The topic was deleted and recreated: from now on only the offsets of the new one count, which are lower."""
        for batch in self._open[tp]:
            batch.mark_topic_recreated(first)
        self._floor[tp] = self._committed[tp] = first

    def _release(self, count: int) -> None:
        self.inflight -= count
        if self.headroom:
            self._has_headroom.set()

    @property
    def headroom(self) -> int:
        """How many records may be fetched; 0 until an eighth is free, so that batches do not shrink to one record."""
        free = self.limit - self.inflight
        return free if free * 8 >= self.limit else 0

    async def wait_for_headroom(self, timeout_s: float) -> bool:
        """Backpressure: wait until records may be fetched; False after `timeout_s`."""
        if not self.headroom:
            self._has_headroom.clear()
            try:
                await asyncio.wait_for(self._has_headroom.wait(), timeout_s)
            except TimeoutError:
                return False
        return True

    def committable(self) -> dict[TP, int]:
        """Offsets that have advanced since the last successful commit; never past unfinished work."""
        moved = {}
        for tp, batches in self._open.items():
            while batches and not batches[0].left:
                self._floor[tp] = batches.popleft().offset + 1
            offset = batches[0].committable() if batches else self._floor.get(tp, 0)
            if offset > self._committed.get(tp, offset):
                moved[tp] = offset
        return moved

    def mark_committed(self, offsets: dict[TP, int]) -> None:
        """The broker has committed these offsets. Partitions that were forgotten since are ignored."""
        self._committed.update((tp, offset) for tp, offset in offsets.items() if tp in self._committed)

    def tasks(self) -> set[asyncio.Future[Any]]:
        """The tasks of all unfinished batches."""
        return {t for batches in self._open.values() for b in batches if b.left for t in b.tasks if not t.done()}

    def close(self) -> None:
        """The partitions are being revoked: running tasks may finish, no others are started."""
        for batches in self._open.values():
            for batch in batches:
                batch.open = False

    def overtaken_batch(self) -> Batch | None:
        """A batch that was not started although its successor was: Faust has dropped its message."""
        for batches in self._open.values():
            if len(batches) > 1 and batches[0].is_unstarted and not batches[1].is_unstarted:
                return batches[0]
        return None

    def oldest_s(self, now: float) -> float:
        """Age of the oldest unfinished batch, which is how long the commits of its partition have been held back.

        `now`: monotonic seconds. The age of a batch counts from its fetch.
        """
        first = (next((b for b in batches if b.left), None) for batches in self._open.values())
        return max((now - batch.fetched_at for batch in first if batch), default=0.0)

    def forget(self, tps: Iterable[TP] | None = None) -> None:
        """Drop the batches of revoked or sought partitions (None: of all); their records will be fetched again."""
        for tp in list(self._open) if tps is None else tps:
            for batch in self._open.pop(tp, ()):
                batch.live = False
                self.inflight -= batch.left
            self._committed.pop(tp, None)
            self._floor.pop(tp, None)
        if self.headroom:
            self._has_headroom.set()
