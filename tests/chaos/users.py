"""Sends users at a steady pace: most through the console, some with a plain producer. It knows who was accepted."""

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

#: How many of a hundred: in a department without a policy; sent by a plain producer.
WITHOUT_POLICY, PLAIN = 0.02, 0.2

#: Users in one request, at most; how long until the same request is sent again (seconds).
TOGETHER, AGAIN_S = 20, 0.5


class Users:
    """Two threads that send until all are sent, or until there is no more patience."""

    def __init__(self, url: str, bootstrap: str, count: int, storm_s: float, seed: int) -> None:
        self.url, self.bootstrap, self.storm_s, self.seed = url, bootstrap, storm_s, seed
        self.plain, self.count = int(count * PLAIN), count
        self.accepted: dict[str, float] = {}
        self.retried = 0
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._by_http, self._by_producer)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def all_sent(self) -> bool:
        """Nobody is sending any more."""
        return not any(thread.is_alive() for thread in self._threads)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.failures.append(repr(error))

    def _portions(self, count: int, dice: random.Random) -> Iterator[int]:
        """Numbers of users, each portion when its time has come."""
        began, sent = time.monotonic(), 0
        while sent < count:
            size = min(dice.randint(1, TOGETHER), count - sent)
            due = began + self.storm_s * (sent + size) / count
            time.sleep(max(0.0, due - time.monotonic()))
            yield size
            sent += size

    def _by_http(self) -> None:
        dice = random.Random(f"http {self.seed}")
        for size in self._portions(self.count - self.plain, dice):
            people = [sample_user((_department(dice),), dice) for _ in range(size)]
            for id in self._accepted(people, f"chaos-{dice.getrandbits(64):x}"):
                self.accepted[id] = time.time()

    def _accepted(self, people: list[dict[str, Any]], key: str) -> list[str]:
        """The ids, once the console has accepted them; the same request again until then."""
        while True:
            try:
                status, answer = ask(f"{self.url}/api/users", people, idempotency_key=key)
                if status == 202:
                    return list(answer["ids"])
                if status != 503:
                    self.failures.append(f"a request for users was answered {status}: {answer}")
            except UNREACHABLE:
                pass
            self.retried += 1
            time.sleep(AGAIN_S)

    def _by_producer(self) -> None:
        """Keyed right, by another client's hash, or not at all; a user counts when the broker has it."""
        dice = random.Random(f"plain {self.seed}")
        settings = {"bootstrap.servers": self.bootstrap, "acks": "all", "enable.idempotence": True, "log_level": 0}
        murmur = Producer({**settings, "partitioner": "murmur2_random"})
        other = Producer(settings)
        number = 0
        for size in self._portions(self.plain, dice):
            for _ in range(size):
                id, way = f"plain-{self.seed}-{number}", dice.random()
                number += 1
                producer, key = (murmur if way < 0.5 else other), (id.encode() if way < 0.9 else None)
                value = user(id, _department(dice))
                producer.produce("new-user", value, key, on_delivery=partial(self._delivered, id))
            murmur.poll(0)
            other.poll(0)
        left = murmur.flush(60) + other.flush(60)
        if left:
            raise RuntimeError(f"{left} users of the plain producer did not reach the broker")

    def _delivered(self, id: str, error: Any, _message: Any) -> None:
        if error is None:
            self.accepted[id] = time.time()
        else:
            self.failures.append(f"{id}: {error}")


def _department(dice: random.Random) -> str:
    return "Marketing" if dice.random() < WITHOUT_POLICY else dice.choice(DEPARTMENTS)
