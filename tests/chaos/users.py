"""Sends users at a steady rate, most through the console and some with a plain producer, and keeps those accepted."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from confluent_kafka import Producer

from devtools.http_client import UNREACHABLE, ask
from saga_app.local.sample_users import sample_user
from tests.topics import user

DEPARTMENTS = ("Engineering", "Sales", "Finance", "People", "Support")

#: The share of users in a department without a policy, and of those sent by a plain producer.
WITHOUT_POLICY, BY_PRODUCER = 0.02, 0.2

#: The largest number of users in one request.
MAX_USERS_PER_REQUEST = 20
#: The pause before a request is repeated (seconds).
RETRY_DELAY_S = 0.5


class Users:
    """Sends users in two threads until all are sent. `accepted`: when each user was accepted, by saga id."""

    def __init__(self, url: str, bootstrap: str, count: int, fault_phase_s: float, seed: int) -> None:
        self.url, self.bootstrap, self.fault_phase_s, self.seed = url, bootstrap, fault_phase_s, seed
        self.count_by_producer, self.count = int(count * BY_PRODUCER), count
        self.accepted: dict[str, float] = {}
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(work,), daemon=True)
            for work in (self._send_by_http, self._send_by_producer)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def all_sent(self) -> bool:
        """Whether both threads have ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.failures.append(repr(error))

    def _batch_sizes(self, count: int, dice: random.Random) -> Iterator[int]:
        """Yield the size of each batch of `count` users when the batch is due."""
        began, sent = time.monotonic(), 0
        while sent < count:
            size = min(dice.randint(1, MAX_USERS_PER_REQUEST), count - sent)
            due = began + self.fault_phase_s * (sent + size) / count
            time.sleep(max(0.0, due - time.monotonic()))
            yield size
            sent += size

    def _send_by_http(self) -> None:
        dice = random.Random(f"http {self.seed}")
        for size in self._batch_sizes(self.count - self.count_by_producer, dice):
            users = [sample_user((_department(dice),), dice) for _ in range(size)]
            for id in self._post_until_accepted(users, f"chaos-{dice.getrandbits(64):x}"):
                self.accepted[id] = time.time()

    def _post_until_accepted(self, users: list[dict[str, Any]], idempotency_key: str) -> list[str]:
        """Repeat a request until the console accepts it; returns the saga ids."""
        while True:
            try:
                status, answer = ask(f"{self.url}/api/users", users, idempotency_key=idempotency_key)
                if status == 202:
                    return list(answer["ids"])
                if status != 503:
                    self.failures.append(f"POST /api/users returned {status}: {answer}")
            except UNREACHABLE:
                pass
            time.sleep(RETRY_DELAY_S)

    def _send_by_producer(self) -> None:
        """Send users with the right partitioner, with another one, or without a key."""
        dice = random.Random(f"plain {self.seed}")
        settings = {"bootstrap.servers": self.bootstrap, "acks": "all", "enable.idempotence": True, "log_level": 0}
        murmur2 = Producer({**settings, "partitioner": "murmur2_random"})
        other_hash = Producer(settings)
        number = 0
        for size in self._batch_sizes(self.count_by_producer, dice):
            for _ in range(size):
                id, choice = f"plain-{self.seed}-{number}", dice.random()
                number += 1
                producer, key = (murmur2 if choice < 0.5 else other_hash), (id.encode() if choice < 0.9 else None)
                value = user(id, _department(dice))
                producer.produce("new-user", value, key, on_delivery=partial(self._delivered, id))
            murmur2.poll(0)
            other_hash.poll(0)
        unsent = murmur2.flush(60) + other_hash.flush(60)
        if unsent:
            raise RuntimeError(f"{unsent} users of the plain producer were not acknowledged")

    def _delivered(self, id: str, error: object, _message: object) -> None:
        if error is None:
            self.accepted[id] = time.time()
        else:
            self.failures.append(f"{id}: {error}")


def _department(dice: random.Random) -> str:
    return "Marketing" if dice.random() < WITHOUT_POLICY else dice.choice(DEPARTMENTS)
