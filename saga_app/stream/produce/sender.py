"""Sending from outside of a worker: for the console, the views and the command line."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException

from saga_app.stream.produce.batching_producer import BatchingProducer
from saga_app.stream.produce.outputs import BY_KEY, Headers

#: How much longer than librdkafka's own timeout to wait for its verdict (seconds).
_GRACE_S = 1.5


class Message(NamedTuple):
    """What is sent; without a partition the hash of the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    partition: int | None = None


class NotAcknowledged(Exception):
    """The broker has not acknowledged these messages in time: they may be there or not, so send them again.

    `failed` are their positions in what was sent, `reason` is the first error.
    """

    def __init__(self, failed: Sequence[int], total: int, reason: object) -> None:
        self.failed = failed
        self.total = total
        self.reason = reason
        super().__init__(f"{len(failed)} of {total} messages were not acknowledged by the broker: {reason}")


class Sender:
    """`await send(…)` returns when the broker has acknowledged.

    One for a process, made anywhere, opened by its first send; it belongs to the event loop of that.
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
        """Send one message.  Raises NotAcknowledged."""
        await self.send_all([Message(topic, key, value, headers, partition)])

    async def send_all(self, messages: Sequence[Message]) -> None:
        """Send many at once (order per key is kept).  Raises NotAcknowledged, which names those that failed."""
        if not messages:
            return
        producer = self._open()
        run = _Run(len(messages))
        for index, (topic, key, value, headers, partition) in enumerate(messages):
            where = BY_KEY if partition is None else partition
            producer.put(topic, key, value, headers=headers, partition=where, report=partial(run.report, index))
        try:
            await asyncio.wait_for(run.over.wait(), self._timeout_s + _GRACE_S)
        except TimeoutError:
            late = sorted({*run.open, *run.failed})
            await self._renew(producer)
            raise NotAcknowledged(late, len(messages), f"no answer in {self._timeout_s:g} s") from None
        if run.failed:
            if _useless(run.reason):
                await self._renew(producer)
            raise NotAcknowledged(sorted(run.failed), len(messages), run.reason)

    def _open(self) -> BatchingProducer:
        if self._producer is None:
            self._producer = BatchingProducer(
                self._bootstrap, self._timeout_s, partitions=self._partitions, **self._librdkafka
            )
        return self._producer

    async def _renew(self, producer: BatchingProducer) -> None:
        """The next send gets another client than this one, unless there is one already."""
        if self._producer is producer:
            await self.close()

    async def close(self) -> None:
        """Fail what is under way and end; a later send opens it again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _useless(reason: Any) -> bool:
    """Whether a new client is needed: after a fatal error (the broker has lost its memory of us) none of its messages
    is ever sent; and one whose messages time out may have lost all brokers (brokers.py).
    """
    error = reason.args[0] if isinstance(reason, KafkaException) else reason
    codes = (KafkaError._FATAL, KafkaError._MSG_TIMED_OUT)
    return isinstance(error, KafkaError) and (error.fatal() or error.code() in codes)


class _Run:
    """What is known about one send_all."""

    def __init__(self, total: int) -> None:
        self.open = set(range(total))
        self.failed: list[int] = []
        self.reason: Any = None
        self.over = asyncio.Event()

    def report(self, index: int, error: Any, _message: Any) -> None:
        self.open.discard(index)
        if error is not None:
            self.failed.append(index)
            self.reason = self.reason or error
        if not self.open:
            self.over.set()
