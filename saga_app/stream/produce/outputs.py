"""The delivery reports of everything that a record or a batch sends, without a future for each message."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from saga_app.stream.produce.refusal import Refused

if TYPE_CHECKING:
    from saga_app.stream.produce.batching_producer import BatchingProducer

#: Names and values, as they are sent.
Headers = Sequence[tuple[str, bytes | None]]

#: The partition is that of the key, see `partition_of`.
BY_KEY = -1


class Outputs:
    """Sends messages; complete when all of them are acknowledged, failed when one is not.

    It may be completed, used and completed again. A failure is permanent: messages may be missing, so the record must
    not count as done.

    A message that the broker refuses does not fail the others: it is in `refusals`, under the `origin` that was set
    when it was sent (the number of its record in its batch).
    """

    __slots__ = ("_error", "_open", "_producer", "_waiters", "origin", "refusals")

    def __init__(self, producer: "BatchingProducer") -> None:
        self._producer = producer
        self._open = 0
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.origin = 0
        self.refusals: dict[int, list[Refused]] = {}

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        """Send a message; never blocks. Without a partition, the hash of the key selects it."""
        where = BY_KEY if partition is None else partition
        self._producer.put(topic, key, value, headers=headers, partition=where, report=self.expect())

    def expect(self) -> Callable[[Any, Any], None]:
        """Count one more unacknowledged message; call the result with its delivery report."""
        self._open += 1
        return partial(self._reported, self.origin)

    def _reported(self, origin: int, error: Any, _message: Any) -> None:
        """A message was acknowledged, or has failed permanently."""
        self._open -= 1
        if isinstance(error, Refused):
            self.refusals.setdefault(origin, []).append(error)
        elif error is not None:
            self.fail(error)
        if not self._open:
            self._wake()

    def fail(self, error: Any) -> None:
        """Messages may be missing. `error`: the reason, an exception or librdkafka's KafkaError."""
        if self._error is None:
            self._error = error if isinstance(error, BaseException) else KafkaException(error)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():  # done: cancelled
                waiter.set_result(None)
        self._waiters.clear()

    @property
    def open(self) -> int:
        """The number of unacknowledged messages."""
        return self._open

    async def wait_for_reports(self) -> None:
        """Wait until all messages sent so far are acknowledged or refused. Raises KafkaException or Fenced."""
        while self._open and self._error is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._error is not None:
            raise self._error

    async def acknowledged(self) -> None:
        """Wait until all messages sent so far are acknowledged.

        Raises KafkaException or Fenced, and Refused if the broker refused a message of the current `origin`.
        """
        await self.wait_for_reports()
        if refusals := self.refusals.get(self.origin):
            raise refusals[0]
