"""Sends through librdkafka from the event loop.

librdkafka batches, retries and keeps the order within a partition (idempotence) in threads of its own. The event loop
hands it messages in bursts: the first message after a pause immediately, under load one burst every few milliseconds.
That makes large requests without a linger for every message. The same timer polls for delivery reports, so this layer
needs no thread and no lock.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from saga_app.stream.brokers import Brokers
from saga_app.stream.log_throttle import LogThrottle
from saga_app.stream.partition import partition_of
from saga_app.stream.produce.outputs import BY_KEY, Headers
from saga_app.stream.produce.refusal import Refused, is_permanent

#: Time between two bursts, each followed by a poll for delivery reports (seconds).
BURST_INTERVAL_S = 0.005

#: Up to this many unacknowledged messages, latency matters more than the size of requests (messages, seconds).
SMALL_BACKLOG, SMALL_BACKLOG_INTERVAL_S = 64, 0.001

#: Above this many, larger bursts save requests, of which librdkafka sends one for each partition (messages, seconds).
LARGE_BACKLOG, LARGE_BACKLOG_INTERVAL_S = 1000, 0.050

#: Time between two polls without unacknowledged messages: polling lets librdkafka write its log (seconds).
IDLE_INTERVAL_S = 1.0

#: librdkafka's signature of a delivery report: an error or None, and the message (None if it was never sent).
Report = Callable[[Any, Any], None]

#: Whether messages may be handed over now. Raises if they never may again: that fails all held messages.
Gate = Callable[[], bool]

#: The logger of librdkafka's clients.
log = logging.getLogger("librdkafka")
log.addFilter(LogThrottle())

_DEFAULTS: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # the default of Java and aiokafka
    "linger.ms": 0,  # bursts make batches: a linger of 0.5 ms at each hop was a quarter of a saga's latency at 20/s
    "batch.size": 262_144,
    "message.max.bytes": 8 * 1024 * 1024,  # above the limits of the topics, which decide
    "queue.buffering.max.messages": 100_000,
    "retry.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "socket.nagle.disable": True,
    "log_level": 3,
}

#: For the second attempt at a refused message: a broker refuses a batch as a whole, with valid messages in it.
_ONE_PER_REQUEST: Mapping[str, Any] = {"batch.num.messages": 1}


class _Message(NamedTuple):
    """A message that the broker has not acknowledged yet."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None
    partition: int
    report: Report


class _Lane:
    """A librdkafka producer, and the messages that were not handed over to it yet, in order."""

    def __init__(self, producer: Any, failed: Callable[[_Message, Any], None]) -> None:
        self.held: deque[_Message] = deque()
        self.producer = producer
        self.brokers = Brokers(producer)
        self._failed = failed

    def __len__(self) -> int:
        return len(self.held) + len(self.producer)

    def burst(self, gate: Gate | None) -> None:
        """Hand over as many messages as librdkafka accepts. Raises what the gate raises."""
        held, produce = self.held, self.producer.produce
        while held and (gate is None or gate()):
            message = held[0]
            topic, key, value, headers, partition, _ = message
            try:
                produce(topic, value, key, partition, partial(self._delivered, message), None, 0, headers)
            except BufferError:
                return
            except Exception as error:  # only this message cannot be sent
                self._failed(message, error)
            held.popleft()

    def _delivered(self, message: _Message, error: Any, delivered: Any) -> None:
        if error is None:
            message.report(None, delivered)
        else:
            self._failed(message, error)

    def drop(self, error: BaseException) -> None:
        """Fail the messages that were not handed over."""
        while self.held:
            self.held.popleft().report(error, None)

    def purge(self) -> None:
        """Fail all unacknowledged messages."""
        self.drop(KafkaException(KafkaError(KafkaError._PURGE_QUEUE)))
        if len(self.producer):
            self.producer.purge()
            self.producer.poll(0)


def _interval_s(unacknowledged: int) -> float:
    """Time until the next burst (seconds)."""
    if not unacknowledged:
        return IDLE_INTERVAL_S
    if unacknowledged <= SMALL_BACKLOG:
        return SMALL_BACKLOG_INTERVAL_S
    return BURST_INTERVAL_S if unacknowledged <= LARGE_BACKLOG else LARGE_BACKLOG_INTERVAL_S


class BatchingProducer:
    """A librdkafka producer on the event loop; create it inside the running loop.

    timeout_s: how long a message may wait for its acknowledgement once librdkafka has it
    gate: whether messages may be handed over, asked before each one; None: always
    partitions: over how many partitions of a topic keys are distributed (None: all), see `Assignor`

    Messages that cannot be handed over now (librdkafka's queue is full, or the gate is closed) are held in order, and
    `full` tells the pool not to start another batch.

    A message that the broker refuses (see `is_permanent`) is sent once more, by a second producer that sends each
    message in a request of its own; if that is refused too, its report gets `Refused`. Later messages of the same key
    may have overtaken it by then.
    """

    def __init__(
        self,
        bootstrap: str,
        timeout_s: float,
        gate: Gate | None = None,
        producer: Callable[..., Any] = Producer,
        partitions: int | None = None,
        **settings: Any,
    ) -> None:
        self._gate, self._partitions = gate, partitions
        self._busy = self._warmed_up = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle = self._loop.call_later(IDLE_INTERVAL_S, self._tick)
        self.full = False
        self.timeout_s = timeout_s
        own = {"bootstrap.servers": bootstrap, "delivery.timeout.ms": int(timeout_s * 1000)}
        self._new_producer = partial(producer, logger=log)
        self._config = {**_DEFAULTS, **own, **settings}
        self._main = _Lane(self._new_producer(self._config), self._retry_alone)
        self._single: _Lane | None = (
            None  #: one message a request; created when a message is refused for the first time
        )

    @property
    def brokers(self) -> Brokers:
        """The brokers of the producer that sends nearly all messages."""
        return self._main.brokers

    @property
    def _lanes(self) -> tuple[_Lane, ...]:
        return (self._main,) if self._single is None else (self._main, self._single)

    def put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers | None,
        partition: int,
        report: Report,
    ) -> None:
        """Send with the next burst; never blocks."""
        if partition == BY_KEY and key is not None and self._partitions is not None:
            partition = partition_of(key, self._partitions)
        self._main.held.append(_Message(topic, key, value, list(headers) if headers else None, partition, report))
        if not self._busy:
            self._busy = True
            self._timer.cancel()
            self._timer = self._loop.call_soon(self._tick)
            self._warm_up(topic)

    def _warm_up(self, topic: str) -> None:
        """Once, in a thread: it blocks."""
        if not self._warmed_up:
            self._warmed_up = True
            self._loop.run_in_executor(None, self.brokers.warm_up, topic)

    def __len__(self) -> int:
        """The number of unacknowledged messages."""
        return sum(map(len, self._lanes))

    def _tick(self) -> None:
        """Hand over a burst, poll for delivery reports, and schedule the next burst."""
        for lane in self._lanes:
            try:
                lane.burst(self._gate)
            except Exception as error:  # the gate is closed for good
                lane.drop(error)
            lane.producer.poll(0)
        self.full = any(lane.held for lane in self._lanes)
        unacknowledged = len(self)
        self._busy = unacknowledged > 0
        self._timer = self._loop.call_later(_interval_s(unacknowledged), self._tick)

    def _retry_alone(self, message: _Message, error: Any) -> None:
        """Send a refused message again, in a request of its own: another message of its batch may be the reason."""
        if not is_permanent(error):
            message.report(error, None)
            return
        if self._single is None:
            self._single = _Lane(self._new_producer({**self._config, **_ONE_PER_REQUEST}), _refuse)
        self._single.held.append(message)

    def purge(self) -> None:
        """Give up on all unacknowledged messages; their reports get an error."""
        for lane in self._lanes:
            lane.purge()

    async def close(self) -> None:
        """Close without flushing; callers drain first."""
        self.purge()
        self._timer.cancel()
        for lane in self._lanes:
            await asyncio.to_thread(lane.brokers.close)


def _refuse(message: _Message, error: Any) -> None:
    refused = (
        Refused(message.topic, message.key, message.value, message.headers, error) if is_permanent(error) else error
    )
    message.report(refused, None)
