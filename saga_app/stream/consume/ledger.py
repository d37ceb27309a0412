"""What was fetched and is not yet committed, in fetch order per partition."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from faust.types import TP

from saga_app.stream.consume.batch import Batch


class Ledger:
    """Open batches of all assigned partitions, and the bound on unfinished records.

    Faust's own bookkeeping keeps lists of acked offsets and fills the holes between them by
    guessing.  Here nothing is guessed: a partition's open batches stay in the order in which
    they were fetched, so holes in the offsets (compaction, transaction markers) do not matter,
    and the committable offset is that of the first record that is not finished.  A hole at the end of a partition is
    made known by `passed`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inflight = 0
        self._room = asyncio.Event()
        self._open: defaultdict[TP, deque[Batch]] = defaultdict(deque)
        self._committed: dict[TP, int] = {}
        self._floor: dict[TP, int] = {}

    def add(self, batch: Batch) -> Batch:
        """Take responsibility for a batch that was just fetched."""
        batch.on_finish = self._release
        first, tp = batch.records[0].offset, batch.tp
        if first < self._end(tp):
            self._start_again(tp, first)
        self._committed.setdefault(tp, first)
        self._open[batch.tp].append(batch)
        self.inflight += len(batch.records)
        return batch

    def passed(self, tp: TP, first: int, end: int) -> None:
        """From `first` to before `end` nothing is delivered: transaction markers, aborted records, deleted ones."""
        batches = self._open[tp]
        if not batches and end < self._end(tp):
            self._start_again(tp, first)
        self._committed.setdefault(tp, first)
        if batches:
            batches[-1].offset = max(batches[-1].offset, end - 1)
        else:
            self._floor[tp] = max(self._floor.get(tp, 0), end)

    def _end(self, tp: TP) -> int:
        """Behind everything of this partition that was fetched or passed."""
        batches = self._open[tp]
        return batches[-1].offset + 1 if batches else max(self._floor.get(tp, 0), self._committed.get(tp, 0))

    def _start_again(self, tp: TP, first: int) -> None:
        """The topic was deleted and created again: its offsets are lower than those of before, and all that count."""
        for batch in self._open[tp]:
            batch.replaced(first)
        self._floor[tp] = self._committed[tp] = first

    def _release(self, count: int) -> None:
        self.inflight -= count
        if self.room:
            self._room.set()

    @property
    def room(self) -> int:
        """How many records may be fetched; 0 until an eighth is free, so that batches do not shrink to one."""
        free = self.limit - self.inflight
        return free if free * 8 >= self.limit else 0

    async def wait_for_room(self, timeout_s: float) -> bool:
        """Backpressure: wait until records may be fetched, at most `timeout_s`."""
        if not self.room:
            self._room.clear()
            try:
                await asyncio.wait_for(self._room.wait(), timeout_s)
            except TimeoutError:
                return False
        return True

    def committable(self) -> dict[TP, int]:
        """Offsets that moved since the last successful commit; never past unfinished work."""
        moved = {}
        for tp, batches in self._open.items():
            while batches and not batches[0].left:
                self._floor[tp] = batches.popleft().offset + 1
            offset = batches[0].committable() if batches else self._floor.get(tp, 0)
            if offset > self._committed.get(tp, offset):
                moved[tp] = offset
        return moved

    def committed(self, offsets: dict[TP, int]) -> None:
        """The broker has these offsets.  Partitions forgotten meanwhile are left alone."""
        self._committed.update((tp, offset) for tp, offset in offsets.items() if tp in self._committed)

    def tasks(self) -> set[asyncio.Future[Any]]:
        """All unfinished work."""
        return {t for batches in self._open.values() for b in batches if b.left for t in b.tasks if not t.done()}

    def close(self) -> None:
        """The partitions are about to be given back: what is under way may end, nothing more of it is begun."""
        for batches in self._open.values():
            for batch in batches:
                batch.open = False

    def lost(self) -> Batch | None:
        """A batch that nobody works on although its successor was taken: Faust has dropped it on the way."""
        for batches in self._open.values():
            if len(batches) > 1 and batches[0].idle and not batches[1].idle:
                return batches[0]
        return None

    def oldest_s(self, now: float) -> float:
        """How long the first unfinished batch of any partition has been here, in seconds: so long is its partition's
        commit held back.  `now` is monotonic; a batch has one age, that of its fetch.
        """
        first = (next((b for b in batches if b.left), None) for batches in self._open.values())
        return max((now - batch.taken_at for batch in first if batch), default=0.0)

    def forget(self, tps: Iterable[TP] | None = None) -> None:
        """Drop the bookkeeping of revoked or sought partitions; their records will be fetched again."""
        for tp in list(self._open) if tps is None else tps:
            for batch in self._open.pop(tp, ()):
                batch.live = False
                self.inflight -= batch.left
            self._committed.pop(tp, None)
            self._floor.pop(tp, None)
        if self.room:
            self._room.set()
