"""The logic of the three services without a Kafka client: from the bytes of a record to topics and bytes to send."""

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

#: Handles a record, given its key and value. Returns topics and values to send with the same key.
Handler = Callable[[bytes, bytes], tuple[tuple[str, bytes], ...]]


@dataclass(frozen=True)
class Codec:
    """The functions of a JSON library."""

    loads: Callable[[bytes], Any]
    dumps: Callable[[Any], bytes]


_dense = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
CODECS: Mapping[str, Codec] = {
    "std": Codec(json.loads, lambda value: _dense.encode(value).encode()),
    "orjson": Codec(orjson.loads, orjson.dumps),
}


@dataclass
class Chain:
    """The handlers of all services; each process uses those of one service."""

    codec: Codec
    #: The Provisioner's state. Rows are kept encoded, so that the garbage collector has no objects to traverse.
    rows: dict[bytes, bytes] = field(default_factory=dict)

    def handlers(self, service: str) -> dict[str, Handler]:
        """The handlers of a service by topic."""
        handlers: dict[str, dict[str, Handler]] = {
            "provisioner": {NEW_USER: self.provision, NOTIFIED: self.complete},
            "authorizer": {AUTHORIZE: self.authorize},
            "notifier": {NOTIFY: self.notify},
        }
        return handlers[service]

    def provision(self, key: bytes, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """Assign a device, record the running saga, and request authorization."""
        message = self.codec.loads(value)
        message["facts"] = {"device_id": f"PC-{message['id'][-8:]}"}
        message["started_at"] = time()
        return (ROWS_CHANGELOG, self._write_row(key, message, "running")), (AUTHORIZE, self.codec.dumps(message))

    def authorize(self, key: bytes, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """Add the authorizations of the department, and request the notification."""
        message = self.codec.loads(value)
        message["facts"]["authorizations"] = POLICY[message["user"]["department"]]
        return ((NOTIFY, self.codec.dumps(message)),)

    def notify(self, key: bytes, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """Record the notification without sending mail."""
        message = self.codec.loads(value)
        message["facts"]["notified_at"] = time()
        return ((NOTIFIED, self.codec.dumps(message)),)

    def complete(self, key: bytes, value: bytes) -> tuple[tuple[str, bytes], ...]:
        """Record the completed saga."""
        message = self.codec.loads(value)
        message["ended_at"] = time()
        return ((ROWS_CHANGELOG, self._write_row(key, message, "completed")),)

    def _write_row(self, key: bytes, message: dict[str, Any], state: str) -> bytes:
        row = self.rows[key] = self.codec.dumps({**message, "state": state})
        return row
