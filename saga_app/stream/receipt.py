"""One receipt for all that a record, or a whole batch, sends: instead of a future a message."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

if TYPE_CHECKING:
    from saga_app.stream.outbox import Outbox

#: Names and values, as they travel on the wire.
Headers = Sequence[tuple[str, bytes]]

#: Let the hash of the key decide: Kafka's murmur2, see partition.py.
BY_KEY = -1


class Receipt:
    """Settled when everything sent under it is acknowledged; fails with the first message that was not.

    It may be settled, used and settled again.  A failure stays: what was sent before it may be
    missing, so the record must not count as done.
    """

    __slots__ = ("_error", "_open", "_outbox", "_waiters")

    def __init__(self, outbox: "Outbox") -> None:
        self._outbox = outbox
        self._open = 0
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        """Send a message; never blocks.  Without a partition the hash of the key decides."""
        self._open += 1
        where = BY_KEY if partition is None else partition
        self._outbox.put(topic, key, value, headers=headers, partition=where, report=self.report)

    def expect(self) -> None:
        """One more `report` will come."""
        self._open += 1

    def report(self, error: Any, _message: Any) -> None:
        """A message was acknowledged, or has failed for good."""
        self._open -= 1
        if error is not None and self._error is None:
            self._error = error if isinstance(error, BaseException) else KafkaException(error)
        if self._waiters and (self._error is not None or not self._open):
            for waiter in self._waiters:
                if not waiter.done():  # cancelled meanwhile
                    waiter.set_result(None)
            self._waiters.clear()

    @property
    def open(self) -> int:
        """How many messages are not acknowledged yet."""
        return self._open

    async def settled(self) -> None:
        """Wait until all that was sent so far is acknowledged, and raise what went wrong (KafkaException, Fenced)."""
        while self._open and self._error is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._error is not None:
            raise self._error
