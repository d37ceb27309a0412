"""Sends sample users as a burst or at a steady rate, with a plain producer that uses little CPU time."""

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
    """Key and value of a record."""

    id: bytes
    value: bytes


def sample_users(count: int, prefix: str) -> list[NewUser]:
    """Users with ids of the length of a UUID that begin with `prefix`. The same prefix yields the same users."""
    dice = random.Random(prefix)
    return [_user(f"{prefix}-{number:0{35 - len(prefix)}d}", dice) for number in range(count)]


def _user(id: str, dice: random.Random) -> NewUser:
    message = {"v": 1, "id": id, "user": sample_user(DEPARTMENTS, dice)}
    return NewUser(id.encode(), json.dumps(message, separators=(",", ":")).encode())


class Sender:
    """Sends users to one broker. Each method returns when all are acknowledged."""

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
                "on_delivery": _raise_delivery_error,
            }
        )

    def burst(self, users: Sequence[NewUser], topic: str = NEW_USER) -> None:
        """Send all users as fast as the broker accepts them."""
        for user in users:
            self._producer.produce(topic, user.value, user.id)
        self._flush()

    def steady(
        self, users: Sequence[NewUser], per_s: float, show_count: Callable[[int], None] = lambda _: None
    ) -> None:
        """Send users evenly at `per_s` a second; about once a second `show_count` gets the number sent so far."""
        began = time.monotonic()
        for number, user in enumerate(users):
            time.sleep(max(0.0, began + number / per_s - time.monotonic()))
            self._producer.produce(NEW_USER, user.value, user.id)
            self._producer.poll(0)
            if number % max(1, int(per_s)) == 0:
                show_count(number)
        self._flush()

    def _flush(self) -> None:
        if unsent := self._producer.flush(120):
            raise RuntimeError(f"{unsent} users were not acknowledged")


def _raise_delivery_error(error: object, _message: object) -> None:
    raise RuntimeError(f"a user was not delivered to the broker: {error}")
