"""A run: the records of one topic that are handled together, with shared outputs."""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.delay_queue import RetryLater
from saga_app.stream.produce.outputs import Outputs


class Item(NamedTuple):
    """A record to handle."""

    batch: Batch
    position: int  #: of the record in its batch
    state: Any = None  #: the argument of its handler after a `RetryLater`; None the first time
    source: Any = None  #: the stream and the event that brought the batch

    @property
    def record(self) -> Any:
        """The record; None if it is finished."""
        return self.batch.records[self.position]


def _offset(item: Item) -> int:
    offset: int = item.record.offset
    return offset


#: Finishes a record whose handling has begun; it is called with new outputs.
Rest = Callable[[Outputs], Coroutine[Any, Any, RetryLater | None]]


class Run:
    """Records of one topic, from one or more partitions, numbered from 0.

    The handler of a run sets `outputs.origin` to the number of the record for which it sends. It reports the records
    that it has not handled. All others are finished as soon as their outputs are acknowledged.
    """

    __slots__ = ("items", "left", "outputs", "unfinished", "waiting")

    def __init__(self, outputs: Outputs, items: Iterable[Item], left: deque[Item]) -> None:
        self.outputs, self.items, self.left = outputs, [*items], left
        #: The records that are not handled, by number: the loop time at which to handle them again, or None if another
        #: run does.
        self.unfinished: dict[int, float | None] = {}
        self.waiting: tuple[int, Rest] | None = None

    def add(self, item: Item) -> int:
        """Add a record; returns its number."""
        self.items.append(item)
        return len(self.items) - 1

    def leave(self, number: int, state: Any) -> None:
        """Let the handler of single records process this record, with this state.

        Records that are left are begun in the order of their offsets, in whatever order the handler leaves them: two
        requests of one saga must not change places.
        """
        insort(self.left, self.items[number]._replace(state=state), key=_offset)
        self.unfinished[number] = None

    def retry(self, number: int, later: RetryLater) -> None:
        """Handle a record again after its delay, and not before its outputs are acknowledged."""
        self.items[number] = self.items[number]._replace(state=later.state)
        self.unfinished[number] = asyncio.get_running_loop().time() + later.seconds

    def wait_for(self, number: int, rest: Rest) -> None:
        """Let the task of this run finish a record whose handling has begun and has to wait."""
        self.waiting = number, rest
        self.unfinished[number] = None

    @property
    def handled(self) -> list[int]:
        """The numbers of the records that are handled."""
        return [number for number in range(len(self.items)) if number not in self.unfinished]

    @property
    def sources(self) -> dict[Batch, Any]:
        """The batches of its records, and the source of each."""
        return {item.batch: item.source for item in self.items}


#: Handles the records of a run that need not wait, and reports the others.
RunHandler = Callable[[Run], Coroutine[Any, Any, None]]
