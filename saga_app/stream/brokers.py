"""Whether a librdkafka client can reach a broker, at its start and while it runs.

A broker that has just restarted may report a cluster without brokers. librdkafka (2.10 and later) then drops its whole
metadata and may never contact its bootstrap servers again (its issue 5301): a consumer receives nothing, all messages
of a producer time out, and neither reports an error. So each client is probed, as long as the group coordinator answers
aiokafka.
"""

import asyncio
from collections import Counter
from concurrent.futures import Executor
from threading import Lock
from typing import Any

from confluent_kafka import KafkaException

#: How long to wait for metadata (seconds): the response may queue behind a fetch that the broker holds.
METADATA_TIMEOUT_S = 3.0

#: Time between two probes of all clients of a worker (seconds).
PROBE_INTERVAL_S = 5.0

#: After this many consecutive failed probes a client counts as disconnected for good.
MAX_FAILED_PROBES = 2

#: How long a new client waits for metadata (seconds): short, because `close` waits for this request.
WARM_UP_TIMEOUT_S = 1.0


class Brokers:
    """The brokers of one client. The client is closed here, so that it is never closed during a metadata request.

    executor: where the client is probed. confluent-kafka serialises the calls of a consumer, and a blocked call polls
        every millisecond, so a consumer is probed in its polling thread; a probe then delays the next fetch by up to
        METADATA_TIMEOUT_S. None: any thread.
    """

    def __init__(self, client: Any, executor: Executor | None = None) -> None:
        self._client = client
        self._executor = executor
        self._lock = Lock()
        self._closed = False

    def warm_up(self, topic: str) -> None:
        """Let a new producer find its brokers now; blocks for up to 2 × `WARM_UP_TIMEOUT_S`.

        An idempotent producer sends nothing before it has a producer id, which librdkafka requests from a timer of
        500 ms: a first message would take half a second or a whole one. It also does so after each metadata response.
        The first response arrives on a bootstrap connection that is closed afterwards, the second on a permanent one.
        """
        if not self.are_unreachable(topic, WARM_UP_TIMEOUT_S):
            self.are_unreachable(topic, WARM_UP_TIMEOUT_S)

    def are_unreachable(self, topic: str | None, timeout_s: float = METADATA_TIMEOUT_S) -> bool:
        """Whether the client gets no metadata of this topic (None: of all topics) in time; blocks.

        False for a client that is closed.
        """
        with self._lock:
            if self._closed:
                return False
            try:
                self._client.list_topics(topic, timeout_s)
            except KafkaException:
                return True
            return False

    async def probe(self, topic: str) -> bool:
        """`are_unreachable`, without blocking the event loop."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self.are_unreachable, topic)
        except RuntimeError:
            if self._closed:  # and its executor with it
                return False
            raise

    def close(self) -> None:
        """Close the client; blocks."""
        with self._lock:
            self._closed = True
            self._client.close()


class BrokerProbe:
    """Probes the clients of a worker one after the other."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._failed: Counter[str] = Counter()

    async def problem(self) -> BaseException | None:
        """The error of a client that has lost its brokers, or None.

        None while the group coordinator is silent too (an outage), or nothing is assigned.
        """
        consumer = self._consumer
        fetcher, lease = consumer.thread.fetcher, consumer.transport.lease
        topic = next((tp.topic for tp in consumer.assignment()), None) if fetcher is not None else None
        clients = {"records": fetcher, **consumer.transport.sending}
        for name, client in clients.items():
            if topic is None or lease.silent_s > lease.age_s:
                self._failed.clear()
                return None
            is_lost = await client.brokers.probe(topic)
            self._failed[name] = self._failed[name] + 1 if is_lost else 0
            if self._failed[name] >= MAX_FAILED_PROBES:
                return RuntimeError(
                    f"librdkafka's client for {name} has lost all brokers: it gets no metadata of topic {topic}, "
                    "although the group coordinator answers"
                )
        return None
