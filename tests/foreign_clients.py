"""Requests as other clients write them, and what becomes of them in a running system, by every reader."""

import json
import subprocess
import urllib.request
from typing import Any

from confluent_kafka import Producer

from devtools.system import System
from devtools.wait import until
from tests.topics import user

#: All that Kafka knows.
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def ask(system: System, path: str) -> Any:
    """An answer of its console."""
    with urllib.request.urlopen(system.url + path, timeout=30) as answer:
        return json.load(answer)


def send(bootstrap: str, id: str, value: bytes | None = None, **how: Any) -> None:
    """One request of a client of librdkafka's; `how` is what its `produce` takes."""
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("new-user", user(id) if value is None else value, id.encode(), **how)
    assert producer.flush(30) == 0


def send_compressed(bootstrap: str, codec: str, count: int) -> list[str]:
    """As many users as one batch takes; their ids."""
    ids = [f"{codec}-{number}" for number in range(count)]
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 100})
    for id in ids:
        producer.produce("new-user", user(id), id.encode())
    assert producer.flush(30) == 0
    return ids


def send_with_odd_header(bootstrap: str, id: str, codec: str) -> None:
    """A request with a header whose name is not UTF-8; librdkafka's Python client refuses to write one."""
    command = [b"kcat", b"-b", bootstrap.encode(), b"-t", b"new-user", b"-P", b"-K", b"|", b"-z", codec.encode()]
    line = id.encode() + b"|" + user(id)
    subprocess.run(
        [*command, b"-X", b"topic.partitioner=murmur2", b"-H", b"\xff\xfe=x"], input=line, check=True, timeout=30
    )


def completed(system: System, id: str, within_s: float = 60.0) -> dict[str, Any]:
    """The saga as the console shows it, when it has completed."""

    def is_completed() -> dict[str, Any] | None:
        shown: dict[str, Any] = next(iter(ask(system, f"/api/sagas?q={id}")["items"]), {})
        return shown if shown.get("state") == "completed" else None

    return until(is_completed, within_s, f"{id} is completed")


def all_read(system: System, ids: list[str]) -> None:
    """By the console, its look-ups in Kafka, the command line and the audit."""
    for id in ids:
        completed(system, id)
    entries = ask(system, f"/api/sagas/{ids[0]}/trace")["entries"]
    assert [entry["kind"] for entry in entries][-1] == "completed"
    assert entries[0]["topic"] == "new-user"
    assert ids[0] in system.saga("list", "--search", ids[0]).stdout
    assert "completed" in system.saga("trace", ids[0]).stdout


def is_quiet(system: System) -> bool:
    """Whether no process of it was started again."""
    return not [line for line in system.lines if "Traceback" in line or "restart" in line.lower()]
