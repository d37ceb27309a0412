"""Requests as other clients write them, and checks that every reader of the system can read them."""

import json
import subprocess
import urllib.request
from typing import Any

from confluent_kafka import Producer

from devtools.system import System
from devtools.wait import until
from tests.topics import user

#: Every compression codec of Kafka.
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def ask(system: System, path: str) -> Any:
    """The body of a GET response of the console."""
    with urllib.request.urlopen(system.url + path, timeout=30) as answer:
        return json.load(answer)


def send(bootstrap: str, id: str, value: bytes | None = None, **options: Any) -> None:
    """Produce one `new-user` request with librdkafka's defaults. `options` are arguments of `Producer.produce`."""
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("new-user", user(id) if value is None else value, id.encode(), **options)
    assert producer.flush(30) == 0


def send_compressed(bootstrap: str, codec: str, count: int) -> list[str]:
    """Produce `count` requests in one compressed batch; return their ids."""
    ids = [f"{codec}-{number}" for number in range(count)]
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 100})
    for id in ids:
        producer.produce("new-user", user(id), id.encode())
    assert producer.flush(30) == 0
    return ids


def send_with_odd_header(bootstrap: str, id: str, codec: str) -> None:
    """Produce a request with a header name that is not UTF-8. kcat does it; librdkafka's Python client refuses."""
    command = [b"kcat", b"-b", bootstrap.encode(), b"-t", b"new-user", b"-P", b"-K", b"|", b"-z", codec.encode()]
    line = id.encode() + b"|" + user(id)
    subprocess.run(
        [*command, b"-X", b"topic.partitioner=murmur2", b"-H", b"\xff\xfe=x"], input=line, check=True, timeout=30
    )


def wait_until_completed(system: System, id: str, within_s: float = 60.0) -> dict[str, Any]:
    """Wait until the console shows the saga as completed; return its row."""

    def is_completed() -> dict[str, Any] | None:
        shown: dict[str, Any] = next(iter(ask(system, f"/api/sagas?q={id}")["items"]), {})
        return shown if shown.get("state") == "completed" else None

    row = until(is_completed, within_s, f"{id} did not complete")
    assert row is not None
    return row


def assert_readable(system: System, ids: list[str]) -> None:
    """Wait until the sagas have completed, then read the first one by its trace and from the command line."""
    for id in ids:
        wait_until_completed(system, id)
    entries = ask(system, f"/api/sagas/{ids[0]}/trace")["entries"]
    assert [entry["kind"] for entry in entries][-1] == "completed"
    assert entries[0]["topic"] == "new-user"
    assert ids[0] in system.saga("list", "--search", ids[0]).stdout
    assert "completed" in system.saga("trace", ids[0]).stdout


def has_no_restarts(system: System) -> bool:
    """Whether no process of the system has logged a traceback or was restarted."""
    return not [line for line in system.lines if "Traceback" in line or "restart" in line.lower()]
