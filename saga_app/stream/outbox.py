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
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from saga_app.stream.brokers import Brokers
from saga_app.stream.quiet import Quiet
from saga_app.stream.receipt import Headers

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


def _pause_s(under_way: int) -> float:
    """How long until the next tick (seconds)."""
    if not under_way:
        return IDLE_S
    if under_way <= FEW:
        return QUICK_S
    return TICK_S if under_way <= MANY else SLOW_S


class Outbox:
    """A librdkafka producer on the event loop; make it inside the running loop.

    What it cannot take now (its queue is full, or the gate is closed) stays here in order, and
    `full` tells the pool not to begin another batch.  `timeout_s` is how long a message may wait
    for its acknowledgement once librdkafka has it.
    """

    def __init__(
        self,
        bootstrap: str,
        timeout_s: float,
        gate: Gate | None = None,
        producer: Callable[..., Any] = Producer,
        **settings: Any,
    ) -> None:
        self._gate = gate
        self._held: deque[tuple[Any, ...]] = deque()
        self._busy = self._met = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle = self._loop.call_later(IDLE_S, self._tick)
        self.full = False
        self.timeout_s = timeout_s
        own = {"bootstrap.servers": bootstrap, "delivery.timeout.ms": int(timeout_s * 1000)}
        self._producer = producer({**_DEFAULTS, **own, **settings}, logger=log)
        self.brokers = Brokers(self._producer)

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
        self._held.append((topic, value, key, partition, report, None, 0, list(headers) if headers else None))
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
        return len(self._held) + len(self._producer)

    def _tick(self) -> None:
        """Hand over a burst, fetch reports, and come back soon while anything is under way."""
        try:
            self._burst()
        except Exception as error:  # the gate: never again
            self._drop(error)
        self.full = bool(self._held)
        self._producer.poll(0)
        under_way = len(self)
        self._busy = under_way > 0
        self._timer = self._loop.call_later(_pause_s(under_way), self._tick)

    def _burst(self) -> None:
        held, gate, produce = self._held, self._gate, self._producer.produce
        while held and (gate is None or gate()):
            message = held[0]
            try:
                produce(*message)
            except BufferError:
                return
            except Exception as error:  # this one message is refused (too large, no such partition)
                message[4](error, None)
            held.popleft()

    def _drop(self, error: BaseException) -> None:
        while self._held:
            self._held.popleft()[4](error, None)

    def purge(self) -> None:
        """Give up on everything that is not acknowledged; its reports fail."""
        self._drop(KafkaException(KafkaError(KafkaError._PURGE_QUEUE)))
        if len(self._producer):
            self._producer.purge()
            self._producer.poll(0)

    async def close(self) -> None:
        """End without waiting for the broker; whoever drains has waited before."""
        self.purge()
        self._timer.cancel()
        await asyncio.to_thread(self.brokers.close)
