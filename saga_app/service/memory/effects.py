"""The table `effects` of a service: recorded results, intent records, tombstones and delayed requests.

Recorded results keep a duplicate request from repeating an effect, such as a mail. Tombstones keep a step from acting
after its compensation. Both are acknowledged before the record that led to them is finished.
"""

from collections.abc import Callable
from typing import Any, Protocol

import structlog

from saga_app.saga.codec import BadMessage, decode, encode, replace_fields
from saga_app.saga.messages import Answer, Waiting
from saga_app.saga.messages import Effects as Remembered
from saga_app.stream.table.key_lock import KeyLock

log = structlog.get_logger()


class RawTable(Protocol):
    """The part of the stream layer's table that is needed here."""

    def read(self, partition: int, key: bytes) -> bytes | None: ...
    def write(self, outputs: Any, partition: int, key: bytes, value: bytes | None) -> None: ...
    def lock(self, partition: int, key: bytes) -> KeyLock: ...
    async def wait_until_owned(self) -> None: ...


#: Called with partition and row after each write.
Watcher = Callable[[int, Remembered], None]


class Effects:
    """Reads and writes the rows of the table `effects`: at most one per saga, on the partition of the saga id.

    `watchers` are called after each write.
    """

    def __init__(self, table: RawTable, *watchers: Watcher) -> None:
        self.table, self.watchers = table, watchers

    def lock(self, partition: int, id: str) -> KeyLock:
        """Lock a saga: other requests of it wait until the outputs of this one are visible in the table."""
        return self.table.lock(partition, id.encode())

    async def wait_until_owned(self) -> None:
        """Wait until this worker certainly owns its partitions. Raises `Fenced` if another worker owns them by now."""
        await self.table.wait_until_owned()

    def get(self, partition: int, id: str) -> Remembered:
        """The row of a saga, empty if there is none.

        Raises `BadMessage` if the row is unreadable, because acting without it could repeat an effect.
        """
        value = self.table.read(partition, id.encode())
        if value is None:
            return Remembered(v=1, id=id)
        try:
            remembered = decode(Remembered, value)
            if remembered.id != id:
                raise BadMessage(f"it belongs to saga {remembered.id}")
            return remembered
        except BadMessage as error:
            raise BadMessage(f"the row of this saga in the table effects is unreadable: {error}") from None

    def record_intent(self, outputs: Any, partition: int, id: str, step: str) -> None:
        """Record that a run of attempts of a step begins."""
        row = self.get(partition, id)
        self._write(outputs, partition, replace_fields(row, begun=[*row.begun, step]))

    def record_result(self, outputs: Any, partition: int, id: str, step: str, answer: Answer) -> None:
        """Record the result of a step, and remove its delayed request."""
        row = _without_delayed_request(self.get(partition, id), step)
        self._write(outputs, partition, replace_fields(row, answers=row.answers | {step: answer}))

    def record_tombstone(self, outputs: Any, partition: int, id: str, step: str) -> None:
        """Keep a step of a saga from acting later, and remove its delayed request."""
        row = self.get(partition, id)
        if step not in row.undone:
            row = replace_fields(_without_delayed_request(row, step), undone=[*row.undone, step])
            self._write(outputs, partition, row)

    def record_delayed_request(
        self, outputs: Any, partition: int, id: str, step: str, waiting: Waiting, had_no_effect: bool
    ) -> None:
        """Store the request of a step until its next attempt is due.

        `had_no_effect`: the attempts so far certainly had no effect, so that their intent record is removed.
        """
        row = _without_intent(self.get(partition, id), step) if had_no_effect else self.get(partition, id)
        self._write(outputs, partition, replace_fields(row, waiting=row.waiting | {step: waiting}))

    def remove_delayed_request(self, outputs: Any, partition: int, id: str, step: str, had_no_effect: bool) -> None:
        """Remove the stored request of a step, and its intent record if the attempts certainly `had_no_effect`."""
        row = _without_intent(self.get(partition, id), step) if had_no_effect else self.get(partition, id)
        self._write(outputs, partition, _without_delayed_request(row, step))

    def _write(self, outputs: Any, partition: int, row: Remembered) -> None:
        self.table.write(outputs, partition, row.id.encode(), encode(row))
        for watcher in self.watchers:
            watcher(partition, row)


def _without_intent(row: Remembered, step: str) -> Remembered:
    """The row without one intent record of the step. Intent records of other runs may have had an effect, and stay."""
    begun = list(row.begun)
    if step in begun:
        begun.remove(step)
    return replace_fields(row, begun=begun)


def _without_delayed_request(row: Remembered, step: str) -> Remembered:
    return replace_fields(row, waiting={name: entry for name, entry in row.waiting.items() if name != step})
