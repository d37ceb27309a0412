"""What the three services do, whatever the client: bytes in, topics and bytes out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any

import orjson

from saga_app.active_plan import ROWS_CHANGELOG

NEW_USER, AUTHORIZE, NOTIFY, NOTIFIED = "new-user", "authorize", "notify", "notified"

POLICY = {
    "Engineering": ["email", "vpn", "git", "ci"],
    "Sales": ["email", "crm"],
    "Finance": ["email", "ledger"],
    "People": ["email", "hr"],
    "Support": ["email", "tickets"],
}

#: Key and value of a record; what is to be sent because of it.
Handler = Callable[[bytes, bytes], tuple[tuple[str, bytes], ...]]


@dataclass(frozen=True)
class Codec:
    """A JSON library."""

    loads: Callable[[bytes], Any]
    dumps: Callable[[Any], bytes]


_dense = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
CODECS: Mapping[str, Codec] = {
    "std": Codec(json.loads, lambda value: _dense.encode(value).encode()),
    "orjson": Codec(orjson.loads, orjson.dumps),
}


@dataclass
class Chain:
    """The services; each process uses one of them."""

    codec: Codec
    #: The Provisioner's state. Rows stay encoded: nothing for the garbage collector to walk through.
    rows: dict[bytes, bytes] = field(default_factory=dict)

    def handlers(self, service: str) -> dict[str, Handler]:
        """By topic."""
        handlers: dict[str, dict[str, Handler]] = {
            "provisioner": {NEW_USER: self.provision, NOTIFIED: self.complete},
            "authorizer": {AUTHORIZE: self.authorize},
            "notifier": {NOTIFY: self.notify},
        }
        return handlers[service]

    def provision(self, key: bytes, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """A device and a row."""
        message = self.codec.loads(value)
        message["facts"] = {"device_id": f"PC-{message['id'][-8:]}"}
        message["started_at"] = time()
        return (ROWS_CHANGELOG, self._note(key, message, "running")), (AUTHORIZE, self.codec.dumps(message))

    def authorize(self, key: bytes, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """What the policy says."""
        message = self.codec.loads(value)
        message["facts"]["authorizations"] = POLICY[message["user"]["department"]]
        return ((NOTIFY, self.codec.dumps(message)),)

    def notify(self, key: bytes, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """A mail that goes nowhere."""
        message = self.codec.loads(value)
        message["facts"]["notified_at"] = time()
        return ((NOTIFIED, self.codec.dumps(message)),)

    def complete(self, key: bytes, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """The end."""
        message = self.codec.loads(value)
        message["ended_at"] = time()
        return ((ROWS_CHANGELOG, self._note(key, message, "completed")),)

    def _note(self, key: bytes, message: dict[str, Any], state: str) -> bytes:
        row = self.rows[key] = self.codec.dumps({**message, "state": state})
        return row
