"""A fetched run of records of one partition, which passes through Faust as one message."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from faust.types import TP
from faust.types.tuples import ConsumerMessage


def _ignore(count: int) -> None:
    """`on_finish` of a batch that no ledger has."""


class Batch(ConsumerMessage):
    """Records, the tasks that work on them, and which of them are done.

    `topic`, `partition` and `tp` name the source. `offset` is the last offset that the batch accounts for: that of its
    last record, or of what follows it and is not delivered (transaction markers and the like).
    """

    __slots__ = (
        "_done",
        "_head",
        "fetched_at",
        "is_started",
        "left",
        "live",
        "on_finish",
        "open",
        "records",
        "tasks",
    )

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
            # Faust's stream silently drops a message of another generation.
            generation_id=generation,
        )
        self.records = records
        self.fetched_at = monotonic()
        self.tasks: dict[asyncio.Future[Any], None] = {}  # ordered; the only strong references to the tasks
        self.is_started = False  # whether work on it has begun
        self.open = True  # False while its partition is being revoked: nothing more of it may be started
        self.live = True  # False once its partition was revoked or sought: finished records do not count any more
        self.left = len(records)  # unfinished records
        self.on_finish: Callable[[int], None] = _ignore
        self._done = bytearray(len(records))
        self._head = 0

    @property
    def is_unstarted(self) -> bool:
        """Whether it has unfinished records and no work on it has begun."""
        return bool(self.left) and not self.is_started

    def begin(self, task: asyncio.Future[Any]) -> None:
        """Register a task that works on some of its records."""
        self.is_started = True
        self.tasks[task] = None
        task.add_done_callback(self._remove)

    def _remove(self, task: asyncio.Future[Any]) -> None:
        self.tasks.pop(task, None)
        if not self.tasks:
            self.tasks = {}  # an emptied dictionary keeps its size, and delayed records keep their batch

    def finish(self, *indices: int) -> None:
        """Mark the records with these numbers as done: everything they sent is acknowledged."""
        done, records, left = self._done, self.records, self.left
        for index in indices:
            if not done[index]:
                done[index] = 1
                records[index] = None  # free it: other records of the batch may take long
                self.left -= 1
        if self.live and left > self.left:
            self.on_finish(left - self.left)

    def committable(self) -> int:
        """The offset of the first unfinished record; if there is none, the offset after the batch."""
        if not self.left:
            return self.offset + 1
        self._head = self._done.index(0, self._head)
        return min(int(self.records[self._head].offset), self.offset)

    def mark_topic_recreated(self, first: int) -> None:
        """Its topic was deleted and recreated, and starts at `first`: from now on no later offset is committable."""
        self.offset = first - 1
