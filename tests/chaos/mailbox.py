"""A mail server that records all mails, and sometimes drops the connection instead of replying."""

import asyncio
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from email import message_from_bytes
from hashlib import blake2b
from typing import cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

#: The share of mails whose first copy is accepted without a reply.
LOST_REPLIES = 0.005


@dataclass(frozen=True)
class Copy:
    """An accepted copy of a mail: when (seconds since 1970), and whether its reply was lost."""

    at: float
    reply_lost: bool


def message_id(saga: str, step: str) -> str:
    """The Message-ID, without the domain, of the mail that a step of the onboarding sends for a saga."""
    return blake2b(f"onboarding:{saga}:{step}".encode(), digest_size=16).hexdigest()


class Mailbox:
    """A context manager that runs the mail server on a port of 127.0.0.1."""

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
        """All copies of each mail in the order of arrival, by Message-ID without the domain."""
        with self._lock:
            return {id: list(copies) for id, copies in self._copies.items()}

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Accept a mail; called by aiosmtpd."""
        assert isinstance(envelope.content, bytes)
        id = str(message_from_bytes(envelope.content)["Message-ID"]).strip(" <\r\n").partition("@")[0]
        with self._lock:
            is_first = id not in self._copies
            reply_lost = is_first and random.Random(f"mail {self._seed} {id}").random() < LOST_REPLIES
            self._copies[id].append(Copy(time.time(), reply_lost))
        if reply_lost:
            cast(asyncio.Transport, server.transport).abort()
        return "250 accepted"
