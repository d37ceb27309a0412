"""Produces unexpected records: duplicates, late copies, copies on wrong partitions or without keys, and garbage."""

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

#: The number of unexpected records per saga, and the relative frequencies of their kinds.
RECORDS_PER_SAGA = 0.2
KINDS = {"duplicate": 9, "late": 5, "misplaced": 2, "unkeyed": 2, "garbage": 2}

#: The largest age of a record that is duplicated at once, and the smallest age for a late copy (seconds).
MAX_FRESH_AGE_S, MIN_LATE_AGE_S = 5.0, 60.0
#: The number of newest records of a topic from which a fresh one is chosen.
FRESH_RECORDS = 50

#: Topic, partition, offset.
Place = tuple[str, int, int]


class Consumed(NamedTuple):
    """A record, and when it was consumed (seconds since 1970)."""

    at: float
    message: Any


class Noise:
    """Consumes all topics in one thread and produces unexpected records in another, until `stop()`."""

    def __init__(self, bootstrap: str, sagas: int, fault_phase_s: float, seed: int, partitions: int = 12) -> None:
        self._dice = random.Random(f"noise {seed}")
        self._interval_s = fault_phase_s / max(1.0, sagas * RECORDS_PER_SAGA)
        self._min_late_age_s = min(MIN_LATE_AGE_S, fault_phase_s / 3)
        self._partitions = partitions
        self._consumed: defaultdict[str, list[Consumed]] = defaultdict(list)
        self._stopping = threading.Event()
        settings = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._producer = Producer({**settings, "acks": "all", "message.max.bytes": 2_000_000})
        self._consumer = Consumer({**settings, "group.id": "noise", "enable.auto.commit": False})
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._consume, self._produce)]
        self.counts: Counter[str] = Counter()  #: the produced records by kind
        self.garbage: set[Place] = set()  #: positions of the acknowledged garbage; each must get a dead letter

    def start(self) -> None:
        self._consumer.assign([TopicPartition(topic, p, 0) for topic in TOPICS for p in range(self._partitions)])
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop both threads, and return when all records are acknowledged."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._consumer.close()
        if self._producer.flush(60):
            raise RuntimeError("unexpected records were not acknowledged within 60 s")

    def _consume(self) -> None:
        while not self._stopping.is_set():
            for message in self._consumer.consume(500, timeout=0.2):
                if message.error() is None:
                    self._consumed[str(message.topic())].append(Consumed(time.time(), message))

    def _produce(self) -> None:
        while not self._stopping.wait(self._interval_s * self._dice.uniform(0.5, 1.5)):
            [kind] = self._dice.choices(list(KINDS), list(KINDS.values()))
            if kind == "garbage":
                self._produce_garbage()
            else:
                self._produce_copy(kind)
            self._producer.poll(0)

    def _produce_copy(self, kind: str) -> None:
        message = self._choose_record(late=kind == "late")
        if message is None:
            return
        random_partition = self._dice.randrange(self._partitions)
        partition = message.partition() if kind in ("duplicate", "late") else random_partition
        key = None if kind == "unkeyed" else message.key()
        self.counts[kind] += 1
        self._producer.produce(message.topic(), message.value(), key, partition, headers=message.headers() or [])

    def _choose_record(self, late: bool) -> Any:
        """A fresh or a late record of a random topic; None if the chosen one has the wrong age."""
        consumed = self._consumed[self._dice.choice(TOPICS)]
        now = time.time()
        if not consumed:
            return None
        chosen = self._dice.choice(consumed if late else consumed[-FRESH_RECORDS:])
        age_s = now - chosen.at
        return chosen.message if (age_s > self._min_late_age_s if late else age_s < MAX_FRESH_AGE_S) else None

    def _produce_garbage(self) -> None:
        """Produce an invalid record, with an unknown key or the key of a running saga."""
        topic, id = self._dice.choice(ONBOARDING.topics), f"garbage-{self._dice.getrandbits(48):x}"
        other = self._choose_record(late=False)
        key = other.key() if other is not None and self._dice.random() < 0.3 else id.encode()
        self.counts["garbage"] += 1
        value = self._dice.choice(_garbage_values(id, self._dice))
        partition = self._dice.randrange(self._partitions)
        self._producer.produce(topic, value, key, partition, on_delivery=self._garbage_delivered)

    def _garbage_delivered(self, error: object, message: Any) -> None:
        if error is None:
            self.garbage.add((message.topic(), message.partition(), message.offset()))


def _garbage_values(id: str, dice: random.Random) -> list[bytes | None]:
    with_unknown_topic = json.loads(user(id)) | {"slip": {"ahead": ["nowhere"], "back": []}}
    return [
        b"hello",
        None,
        dice.randbytes(200),
        b'{"v":1,"id":7,"user":[]}',
        user(id).replace(b'"v": 1', b'"v": 9'),
        user(id).replace(b'"id"', b'"no"'),
        b"x" * 900_000,
        json.dumps(with_unknown_topic).encode().replace(b'"name"', b'"nobody"'),
    ]
