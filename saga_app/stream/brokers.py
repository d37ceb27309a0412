"""Whether a librdkafka client knows a broker, at its start and later.

A broker that has just come back may answer that the cluster has none. librdkafka (from 2.10 on) then forgets all it
knew, and may never ask its bootstrap servers again (its issue 5301): a consumer brings nothing any more, the messages
of a producer all time out, and neither says why. So we ask, while the group's coordinator answers aiokafka.
"""

import asyncio
from collections import Counter
from threading import Lock
from typing import Any

from confluent_kafka import KafkaException

#: How long to wait for an answer, which a long poll and a broker under load hold up; between two looks (seconds).
ANSWER_S, LOOK_S = 3.0, 5.0

#: Questions without an answer, one after the other, that show a client to be lost.
MISSED = 2

#: How long a new client waits for an answer (seconds): it may be told to close meanwhile.
MEET_S = 1.0


class Brokers:
    """Those of one client, which is closed here: never in the middle of a question."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = Lock()
        self._closed = False

    def meet(self, topic: str) -> None:
        """Have a new producer find its brokers now; blocks for up to 2 × `MEET_S`.

        By itself librdkafka looks every 500 ms whether somebody could give it the id without which it sends nothing,
        and so a first message took half a second or a whole one. It looks with each answer about a topic, too: the
        first one comes over a connection that is closed after it, the second over one that stays.
        """
        if not self.lost(topic, MEET_S):
            self.lost(topic, MEET_S)

    def lost(self, topic: str | None, wait_s: float = ANSWER_S) -> bool:
        """Whether nobody tells it about this topic (None: about all) within so many seconds, for which it may block."""
        with self._lock:
            if self._closed:
                return False
            try:
                self._client.list_topics(topic, wait_s)
            except KafkaException:
                return True
            return False

    def close(self) -> None:
        """Close the client; blocks."""
        with self._lock:
            self._closed = True
            self._client.close()


class BrokerProbe:
    """One after the other at the clients of a worker."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._missed: Counter[str] = Counter()

    async def problem(self) -> BaseException | None:
        """What is wrong, or None; nothing is while the coordinator is silent too, or nothing is assigned."""
        consumer = self._consumer
        fetcher, lease = consumer._thread.fetcher, consumer.transport.lease
        topic = next((tp.topic for tp in consumer.assignment()), None) if fetcher is not None else None
        clients = {"records": fetcher, **consumer.transport.sending}
        for name, client in clients.items():
            if topic is None or lease.silent_s > lease.age_s:
                self._missed.clear()
                return None
            lost = await asyncio.to_thread(client.brokers.lost, topic)
            self._missed[name] = self._missed[name] + 1 if lost else 0
            if self._missed[name] >= MISSED:
                return RuntimeError(
                    f"librdkafka's client for {name} has lost all brokers: it learns nothing of topic {topic} "
                    "although the group's coordinator answers"
                )
        return None
