"""A fetched run of records of one partition, travelling through Faust as one message."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from faust.types import TP
from faust.types.tuples import ConsumerMessage


def _nobody(count: int) -> None:
    """Before a ledger has taken the batch."""


class Batch(ConsumerMessage):
    """Records, the tasks that work on them now, and which of them are done.

    `topic`, `partition` and `tp` say where it comes from; `offset` is that of its last record,
    or of what follows it and is not delivered.
    """

    __slots__ = ("_done", "_head", "left", "live", "on_finish", "open", "records", "taken", "taken_at", "tasks")

    def __init__(self, tp: TP, records: list[Any], generation: int) -> None:
        last = records[-1]
        super().__init__(
            topic=tp.topic,
            partition=tp.partition,
            offset=last.offset,
            timestamp=last.timestamp / 1000.0,
            timestamp_type=last.timestamp_type,
            headers=None,
            key=None,
            value=b"",
            checksum=None,
            tp=tp,
            # The stream silently drops what is not of the current generation.
            generation_id=generation,
        )
        self.records = records
        self.taken_at = monotonic()
        self.tasks: dict[asyncio.Future[Any], None] = {}  # in order; the only strong references to the work
        self.taken = False  # somebody has begun to work on it
        self.open = True  # False once its partition is being given back: nothing more is to be begun
        self.live = True  # False once the partition was revoked or sought: what is done then counts for nothing
        self.left = len(records)
        self.on_finish: Callable[[int], None] = _nobody
        self._done = bytearray(len(records))
        self._head = 0

    @property
    def idle(self) -> bool:
        """Nobody has begun to work on it."""
        return bool(self.left) and not self.taken

    def begin(self, task: asyncio.Future[Any]) -> None:
        """This task works on some of it."""
        self.taken = True
        self.tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self.tasks.pop(task, None)
        if not self.tasks:
            self.tasks = {}  # a dictionary that was used stays large, and what only waits holds its batch

    def finish(self, index: int) -> None:
        """Record number `index` is done, and everything it sent is acknowledged."""
        if not self._done[index]:
            self._done[index] = 1
            self.records[index] = None  # others of it may take long
            self.left -= 1
            if self.live:
                self.on_finish(1)

    def committable(self) -> int:
        """Offset of the first unfinished record; one past the last if there is none."""
        if not self.left:
            return self.offset + 1
        self._head = self._done.index(0, self._head)
        return min(int(self.records[self._head].offset), self.offset)

    def replaced(self, first: int) -> None:
        """Its topic was deleted and created again, and begins at `first`: nothing of it can be committed any more."""
        self.offset = first - 1
