"""Sends users: as a burst, or at a steady rate. A plain producer, light enough not to be what is measured."""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import Producer

from saga_app.local.sample_users import sample_user

DEPARTMENTS = ("Engineering", "Sales", "Finance", "People", "Support")
NEW_USER = "new-user"


@dataclass(frozen=True)
class NewUser:
    """A record for `new-user`."""

    id: bytes
    value: bytes


def made_up(count: int, prefix: str) -> list[NewUser]:
    """Always the same for the same prefix. The ids are as long as a UUID."""
    dice = random.Random(prefix)
    return [_user(f"{prefix}-{number:0{35 - len(prefix)}d}", dice) for number in range(count)]


def _user(id: str, dice: random.Random) -> NewUser:
    about = {"v": 1, "id": id, "user": sample_user(DEPARTMENTS, dice)}
    return NewUser(id.encode(), json.dumps(about, separators=(",", ":")).encode())


class Sender:
    """To one broker. Each call returns when all are acknowledged."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "log_level": 0,
                "partitioner": "murmur2_random",
                "linger.ms": 1,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1_000_000,
                "delivery.report.only.error": True,
                "on_delivery": _failed,
            }
        )

    def burst(self, users: Sequence[NewUser], topic: str = NEW_USER) -> None:
        """As fast as the broker takes them."""
        for user in users:
            self._producer.produce(topic, user.value, user.id)
        self._flush()

    def steady(self, users: Sequence[NewUser], per_s: float, said: Callable[[int], None] = lambda _: None) -> None:
        """So many a second, evenly; `said` is told now and then how many were sent."""
        began = time.monotonic()
        for number, user in enumerate(users):
            time.sleep(max(0.0, began + number / per_s - time.monotonic()))
            self._producer.produce(NEW_USER, user.value, user.id)
            self._producer.poll(0)
            if number % max(1, int(per_s)) == 0:
                said(number)
        self._flush()

    def _flush(self) -> None:
        if left := self._producer.flush(120):
            raise RuntimeError(f"{left} users were not acknowledged")


def _failed(error: object, _message: object) -> None:
    raise RuntimeError(f"a user did not reach the broker: {error}")
