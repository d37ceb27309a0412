"""Sends messages outside of a worker: from the console, the views and the command line."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException

from saga_app.stream.produce.batching_producer import BatchingProducer
from saga_app.stream.produce.outputs import BY_KEY, Headers

#: How much longer than librdkafka's delivery timeout to wait for its report (seconds).
_GRACE_S = 1.5


class Message(NamedTuple):
    """A message to send; without a partition, the hash of the key selects it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    partition: int | None = None


class NotAcknowledged(Exception):
    """The broker has not acknowledged some messages in time. They may have been written or not, so send them again.

    `failed`: the indices of these messages in the call; `total`: how many it sent; `reason`: the first error.
    """

    def __init__(self, failed: Sequence[int], total: int, reason: object) -> None:
        self.failed = failed
        self.total = total
        self.reason = reason
        super().__init__(f"{len(failed)} of {total} messages were not acknowledged by the broker: {reason}")


class Sender:
    """`await send(…)` returns when the broker has acknowledged the message.

    Its producer is created by the first send, in the event loop of that call. One for each process is enough.
    """

    def __init__(
        self, bootstrap: str, timeout_s: float = 10.0, partitions: int | None = None, **librdkafka: Any
    ) -> None:
        self._bootstrap, self._partitions = bootstrap, partitions
        self._timeout_s = timeout_s
        self._librdkafka = librdkafka
        self._producer: BatchingProducer | None = None

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        """Send one message. Raises NotAcknowledged."""
        await self.send_all([Message(topic, key, value, headers, partition)])

    async def send_all(self, messages: Sequence[Message]) -> None:
        """Send many messages at once, in order per key. Raises NotAcknowledged, which names those that failed."""
        if not messages:
            return
        producer = self._open()
        reports = _Reports(len(messages))
        for index, (topic, key, value, headers, partition) in enumerate(messages):
            where = BY_KEY if partition is None else partition
            producer.put(topic, key, value, headers=headers, partition=where, report=partial(reports.add, index))
        try:
            await asyncio.wait_for(reports.complete.wait(), self._timeout_s + _GRACE_S)
        except TimeoutError:
            late = sorted({*reports.open, *reports.failed})
            await self._renew(producer)
            raise NotAcknowledged(late, len(messages), f"no answer in {self._timeout_s:g} s") from None
        if reports.failed:
            if _needs_new_client(reports.reason):
                await self._renew(producer)
            raise NotAcknowledged(sorted(reports.failed), len(messages), reports.reason)

    def _open(self) -> BatchingProducer:
        if self._producer is None:
            self._producer = BatchingProducer(
                self._bootstrap, self._timeout_s, partitions=self._partitions, **self._librdkafka
            )
        return self._producer

    async def _renew(self, producer: BatchingProducer) -> None:
        """Let the next send create a new client, unless this one was replaced already."""
        if self._producer is producer:
            await self.close()

    async def close(self) -> None:
        """Fail unacknowledged messages and close the client; a later send creates a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _needs_new_client(reason: Any) -> bool:
    """Whether the client cannot be used any more: after a fatal error (the broker does not know its producer id any
    more) it sends no message, and if its messages time out, it may have lost all brokers (see `Brokers`).
    """
    error = reason.args[0] if isinstance(reason, KafkaException) else reason
    codes = (KafkaError._FATAL, KafkaError._MSG_TIMED_OUT)
    return isinstance(error, KafkaError) and (error.fatal() or error.code() in codes)


class _Reports:
    """The delivery reports of one `send_all`."""

    def __init__(self, total: int) -> None:
        self.open = set(range(total))
        self.failed: list[int] = []
        self.reason: Any = None
        self.complete = asyncio.Event()

    def add(self, index: int, error: Any, _message: Any) -> None:
        self.open.discard(index)
        if error is not None:
            self.failed.append(index)
            self.reason = self.reason or error
        if not self.open:
            self.complete.set()
