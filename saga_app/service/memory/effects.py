"""What a service remembers of a saga, where the outside world does not: answers, and what has been undone.

A mail that was sent must not be sent again by a request that comes twice; and a step whose undo has come first must not
act any more: the undo leaves a tombstone. Both are acknowledged before their record counts as done.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog

from saga_app.saga.messages import Answer, BadMessage, Waiting, changed, encode
from saga_app.saga.messages import Effects as Remembered
from saga_app.service.memory.row_cache import RowCache

log = structlog.get_logger()


class RawTable(Protocol):
    """What is needed of the stream layer's table."""

    def read(self, partition: int, key: bytes) -> bytes | None: ...
    def write(self, outputs: Any, partition: int, key: bytes, value: bytes | None) -> None: ...
    def locked(self, partition: int, key: bytes) -> AbstractAsyncContextManager[Any]: ...
    async def owned(self) -> None: ...


#: Called with every row that is written, and its partition.
Watcher = Callable[[int, Remembered], None]


class Effects:
    """One row a saga, on the partition of its id; a saga of which nothing is remembered has none.

    `watchers` are called with every row that is written.
    """

    def __init__(self, table: RawTable, *watchers: Watcher) -> None:
        self.table, self.watchers = table, watchers
        self.latest = RowCache(Remembered)

    def locked(self, partition: int, id: str) -> AbstractAsyncContextManager[Any]:
        """Keep other requests of this saga out: they wait until what this one does can be seen."""
        return self.table.locked(partition, id.encode())

    async def owned(self) -> None:
        """Wait until it is certain that the saga is this worker's. Raises `Fenced` when it is another's by now."""
        await self.table.owned()

    def get(self, partition: int, id: str) -> Remembered:
        """What is remembered. Raises `BadMessage` if it cannot be read: without it a thing might be done twice."""
        value = self.table.read(partition, id.encode())
        if value is None:
            return Remembered(1, id)
        try:
            remembered = self.latest.read(partition, id, value)
            if remembered.id != id:
                raise BadMessage(f"it is what is remembered of {remembered.id}")
            return remembered
        except BadMessage as error:
            raise BadMessage(f"what is remembered of this saga cannot be read: {error}") from None

    def begun(self, outputs: Any, partition: int, id: str, step: str) -> None:
        """Remember that a run of attempts of a step begins."""
        row = self.get(partition, id)
        self._write(outputs, partition, changed(row, begun=[*row.begun, step]))

    def answered(self, outputs: Any, partition: int, id: str, step: str, answer: Answer) -> None:
        """Remember what a step has answered; its request does not wait any more."""
        row = self.get(partition, id)
        self._write(outputs, partition, changed(_not_waiting(row, step), answers=row.answers | {step: answer}))

    def undone(self, outputs: Any, partition: int, id: str, step: str) -> None:
        """From now on this step of this saga must not act; a request for it that waits is dropped."""
        row = self.get(partition, id)
        if step not in row.undone:
            self._write(outputs, partition, changed(_not_waiting(row, step), undone=[*row.undone, step]))

    def waits(self, outputs: Any, partition: int, id: str, step: str, waiting: Waiting, had_no_effect: bool) -> None:
        """Keep the request of a step until its next attempt is due.

        `had_no_effect`: the run of attempts is forgotten, because it certainly had no effect.
        """
        row = _not_begun(self.get(partition, id), step) if had_no_effect else self.get(partition, id)
        self._write(outputs, partition, changed(row, waiting=row.waiting | {step: waiting}))

    def stop_waiting(self, outputs: Any, partition: int, id: str, step: str, had_no_effect: bool) -> None:
        """The request of a step does not wait any more; `had_no_effect` as above."""
        row = _not_begun(self.get(partition, id), step) if had_no_effect else self.get(partition, id)
        self._write(outputs, partition, _not_waiting(row, step))

    def _write(self, outputs: Any, partition: int, row: Remembered) -> None:
        value = encode(row)
        self.latest.keep(partition, row.id, value, row)
        self.table.write(outputs, partition, row.id.encode(), value)
        for watcher in self.watchers:
            watcher(partition, row)


def _not_begun(row: Remembered, step: str) -> Remembered:
    """Without one run of the step; those that did not end, or whose effect is not known, stay."""
    begun = list(row.begun)
    if step in begun:
        begun.remove(step)
    return changed(row, begun=begun)


def _not_waiting(row: Remembered, step: str) -> Remembered:
    return changed(row, waiting={name: entry for name, entry in row.waiting.items() if name != step})
