"""Sending through librdkafka, on the event loop.

librdkafka batches, retries and keeps the order per partition (idempotence) in threads of its own.
Here the event loop hands it messages in bursts: the first after a pause at once, under load
one burst every few milliseconds.  That makes large requests without a linger that every
message would have to wait for.  The same tick fetches the delivery reports: no thread of ours, no lock.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from saga_app.stream.brokers import Brokers
from saga_app.stream.log_throttle import Quiet
from saga_app.stream.partition import partition_of
from saga_app.stream.produce.outputs import BY_KEY, Headers
from saga_app.stream.produce.refusal import Refused, is_permanent

#: Time between two bursts, and between two looks for delivery reports (seconds).
TICK_S = 0.005

#: The same while no more than so many messages are under way: large requests gain nothing, who waits does (seconds).
FEW, QUICK_S = 64, 0.001

#: And while more than so many are: librdkafka makes a request for each partition, and few of many records cost less.
MANY, SLOW_S = 1000, 0.020

#: The same while nothing is under way: librdkafka may have something to log (seconds).
IDLE_S = 1.0

#: librdkafka's signature of a delivery callback: an error or None, and the message (None if it never left).
Report = Callable[[Any, Any], None]

#: Whether messages may be handed over now; raises when they never may: that fails everything held.
Gate = Callable[[], bool]

#: What librdkafka itself has to say; see quiet.py.
log = logging.getLogger("librdkafka")
log.addFilter(Quiet())

_DEFAULTS: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # the default of Java and aiokafka
    "linger.ms": 0,  # the bursts gather: half a millisecond more at each hop was a quarter of a saga's way at 20/s
    "batch.size": 262_144,
    "message.max.bytes": 8 * 1024 * 1024,  # the topic's own limit decides
    "queue.buffering.max.messages": 100_000,
    "retry.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "socket.nagle.disable": True,
    "log_level": 3,
}

#: For the second try of a message: a broker refuses a batch as a whole, innocent neighbours included.
_ALONE: Mapping[str, Any] = {"batch.num.messages": 1}


class _Message(NamedTuple):
    """What is to be sent, until the broker has acknowledged it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] | None
    partition: int
    report: Report


class _Lane:
    """A librdkafka producer, and the messages that it has not been given yet, in order."""

    def __init__(self, producer: Any, failed: Callable[[_Message, Any], None]) -> None:
        self.held: deque[_Message] = deque()
        self.producer = producer
        self.brokers = Brokers(producer)
        self._failed = failed

    def __len__(self) -> int:
        return len(self.held) + len(self.producer)

    def burst(self, gate: Gate | None) -> None:
        """Hand over as many as it takes. Raises what the gate raises."""
        held, produce = self.held, self.producer.produce
        while held and (gate is None or gate()):
            message = held[0]
            topic, key, value, headers, partition, _ = message
            try:
                produce(topic, value, key, partition, partial(self._delivered, message), None, 0, headers)
            except BufferError:
                return
            except Exception as error:  # this one message cannot be sent
                self._failed(message, error)
            held.popleft()

    def _delivered(self, message: _Message, error: Any, delivered: Any) -> None:
        if error is None:
            message.report(None, delivered)
        else:
            self._failed(message, error)

    def drop(self, error: BaseException) -> None:
        """Fail what it has not been given."""
        while self.held:
            self.held.popleft().report(error, None)

    def purge(self) -> None:
        """Fail everything that is not acknowledged."""
        self.drop(KafkaException(KafkaError(KafkaError._PURGE_QUEUE)))
        if len(self.producer):
            self.producer.purge()
            self.producer.poll(0)


def _pause_s(under_way: int) -> float:
    """How long until the next tick (seconds)."""
    if not under_way:
        return IDLE_S
    if under_way <= FEW:
        return QUICK_S
    return TICK_S if under_way <= MANY else SLOW_S


class BatchingProducer:
    """A librdkafka producer on the event loop; make it inside the running loop.

    What it cannot take now (its queue is full, or the gate is closed) stays here in order, and
    `full` tells the pool not to begin another batch.  `timeout_s` is how long a message may wait
    for its acknowledgement once librdkafka has it.  `partitions`: over how many of a topic's
    partitions keys are distributed, for a topic may have more than are used (None: all it has).

    A message that is refused (see refusal.py) is sent once more, by a second producer that sends each message in a
    request of its own; if that is refused too, its report gets `Refused`. Messages of the same key that were sent after
    it may be ahead of it by then.
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
        self._busy = self._met = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle = self._loop.call_later(IDLE_S, self._tick)
        self.full = False
        self.timeout_s = timeout_s
        own = {"bootstrap.servers": bootstrap, "delivery.timeout.ms": int(timeout_s * 1000)}
        self._new_producer = partial(producer, logger=log)
        self._config = {**_DEFAULTS, **own, **settings}
        self._main = _Lane(self._new_producer(self._config), self._try_alone)
        self._alone: _Lane | None = None  #: made when a message is refused for the first time

    @property
    def brokers(self) -> Brokers:
        """Those of the producer that sends nearly everything."""
        return self._main.brokers

    @property
    def _lanes(self) -> tuple[_Lane, ...]:
        return (self._main,) if self._alone is None else (self._main, self._alone)

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
            self._meet(topic)

    def _meet(self, topic: str) -> None:
        """In a thread: a question blocks."""
        if not self._met:
            self._met = True
            self._loop.run_in_executor(None, self.brokers.meet, topic)

    def __len__(self) -> int:
        """Messages that are not acknowledged yet."""
        return sum(map(len, self._lanes))

    def _tick(self) -> None:
        """Hand over a burst, fetch reports, and come back soon while anything is under way."""
        for lane in self._lanes:
            try:
                lane.burst(self._gate)
            except Exception as error:  # the gate: never again
                lane.drop(error)
            lane.producer.poll(0)
        self.full = any(lane.held for lane in self._lanes)
        under_way = len(self)
        self._busy = under_way > 0
        self._timer = self._loop.call_later(_pause_s(under_way), self._tick)

    def _try_alone(self, message: _Message, error: Any) -> None:
        """The broker may have refused a whole batch because of one message in it."""
        if not is_permanent(error):
            message.report(error, None)
            return
        if self._alone is None:
            self._alone = _Lane(self._new_producer({**self._config, **_ALONE}), _refuse)
        self._alone.held.append(message)

    def purge(self) -> None:
        """Give up on everything that is not acknowledged; its reports fail."""
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
