"""A mail server that keeps a note of every mail; and sometimes takes one and breaks off before it answers."""

import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from email import message_from_bytes
from hashlib import blake2b
from typing import Any

from aiosmtpd.controller import Controller

#: How often the answer to a mail is lost, when it comes for the first time.
LOST_ANSWERS = 0.005


@dataclass(frozen=True)
class Copy:
    """A mail that has arrived; its sender was not told so if `unanswered`."""

    at: float
    unanswered: bool


def message_id(saga: str, step: str) -> str:
    """Of the mail that a step sends for a saga of the onboarding, without its domain: it follows from the key."""
    return blake2b(f"onboarding:{saga}:{step}".encode(), digest_size=16).hexdigest()


class Mailbox:
    """Listens on a port of loopback for as long as it is open."""

    def __init__(self, port: int, seed: int) -> None:
        self.url = f"smtp://127.0.0.1:{port}"
        self._seed = seed
        self._copies: defaultdict[str, list[Copy]] = defaultdict(list)
        self._lock = threading.Lock()
        self._controller = Controller(self, hostname="127.0.0.1", port=port)

    def __enter__(self) -> "Mailbox":
        self._controller.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._controller.stop()

    @property
    def copies(self) -> dict[str, list[Copy]]:
        """Every mail by its Message-ID without the domain, each copy in the order of arrival."""
        with self._lock:
            return {id: list(copies) for id, copies in self._copies.items()}

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:
        """A mail is here."""
        id = str(message_from_bytes(envelope.content)["Message-ID"]).strip(" <\r\n").partition("@")[0]
        with self._lock:
            first = id not in self._copies
            lost = first and random.Random(f"mail {self._seed} {id}").random() < LOST_ANSWERS
            self._copies[id].append(Copy(time.time(), lost))
        if lost:
            server.transport.abort()
        return "250 kept"
