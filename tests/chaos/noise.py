"""Puts on the topics what should not come: copies of records, soon and late, on wrong partitions, and garbage."""

import json
import random
import threading
import time
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition

from saga_app.saga.messages import DLQ, SIGNALS
from saga_app.saga.onboarding import ONBOARDING
from tests.topics import user

TOPICS = (*ONBOARDING.topics, SIGNALS, DLQ)

#: How many of a hundred sagas; what of it is what.
NOISE = 0.2
KINDS = {"duplicate": 9, "late": 5, "stray": 2, "unkeyed": 2, "garbage": 2}

#: A duplicate is of the last few seconds, a late one is older than this, or than a third of the storm (seconds).
FRESH_S, LATE_S = 5.0, 60.0

Place = tuple[str, int, int]


class Seen(NamedTuple):
    """A record, and when we saw it."""

    at: float
    message: Any


class Noise:
    """Reads along in one thread and makes noise in another, until `stop`."""

    def __init__(self, bootstrap: str, sagas: int, storm_s: float, seed: int, partitions: int = 12) -> None:
        self._dice = random.Random(f"noise {seed}")
        self._every_s = storm_s / max(1.0, sagas * NOISE)
        self._late_s = min(LATE_S, storm_s / 3)
        self._partitions = partitions
        self._seen: defaultdict[str, list[Seen]] = defaultdict(list)
        self._over = threading.Event()
        quiet = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._producer = Producer({**quiet, "acks": "all", "message.max.bytes": 2_000_000})
        self._consumer = Consumer({**quiet, "group.id": "noise", "enable.auto.commit": False})
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._run)]
        self.made: Counter[str] = Counter()
        self.garbage: set[Place] = set()  #: Where it stands: each has to be in the dlq.

    def start(self) -> None:
        self._consumer.assign([TopicPartition(topic, p, 0) for topic in TOPICS for p in range(self._partitions)])
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when the broker has all of it."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._consumer.close()
        if self._producer.flush(60):
            raise RuntimeError("the noise did not reach the broker")

    def _listen(self) -> None:
        while not self._over.is_set():
            for message in self._consumer.consume(500, timeout=0.2):
                if message.error() is None:
                    self._seen[str(message.topic())].append(Seen(time.time(), message))

    def _run(self) -> None:
        while not self._over.wait(self._every_s * self._dice.uniform(0.5, 1.5)):
            [kind] = self._dice.choices(list(KINDS), list(KINDS.values()))
            if kind == "garbage":
                self._make_garbage()
            else:
                self._copy(kind)
            self._producer.poll(0)

    def _copy(self, kind: str) -> None:
        """A record once more, byte for byte."""
        message = self._choose(late=kind == "late")
        if message is None:
            return
        away = self._dice.randrange(self._partitions)
        partition = message.partition() if kind in ("duplicate", "late") else away
        key = None if kind == "unkeyed" else message.key()
        self.made[kind] += 1
        self._producer.produce(message.topic(), message.value(), key, partition, headers=message.headers() or [])

    def _choose(self, late: bool) -> Any:
        seen = self._seen[self._dice.choice(TOPICS)]
        now = time.time()
        if not seen:
            return None
        chosen = self._dice.choice(seen if late else seen[-50:])
        return chosen.message if (now - chosen.at > self._late_s if late else now - chosen.at < FRESH_S) else None

    def _make_garbage(self) -> None:
        """Under the keys of strangers, and of sagas that are under way."""
        topic, id = self._dice.choice(ONBOARDING.topics), f"garbage-{self._dice.getrandbits(48):x}"
        victim = self._choose(late=False)
        key = victim.key() if victim is not None and self._dice.random() < 0.3 else id.encode()
        self.made["garbage"] += 1
        value = self._dice.choice(_garbage(id, self._dice))
        self._producer.produce(topic, value, key, self._dice.randrange(self._partitions), on_delivery=self._stands)

    def _stands(self, error: Any, message: Any) -> None:
        if error is None:
            self.garbage.add((message.topic(), message.partition(), message.offset()))


def _garbage(id: str, dice: random.Random) -> list[bytes | None]:
    forged = json.loads(user(id)) | {"slip": {"ahead": ["nowhere"], "back": []}}
    return [
        b"hello",
        None,
        dice.randbytes(200),
        b'{"v":1,"id":7,"user":[]}',
        user(id).replace(b'"v": 1', b'"v": 9'),
        user(id).replace(b'"id"', b'"no"'),
        b"x" * 900_000,
        json.dumps(forged).encode().replace(b'"name"', b'"nobody"'),
    ]
