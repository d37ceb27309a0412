"""Records of other clients on the embedded broker: every reader reads all of them."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from time import time

import pytest
from aiokafka import codec

from devtools.system import System
from devtools.wait import until
from tests.foreign_clients import (
    CODECS,
    ask,
    assert_readable,
    has_no_restarts,
    send,
    send_compressed,
    send_with_odd_header,
    wait_until_completed,
)
from tests.topics import user


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for all tests, so that each must cope with the records of the others."""
    started = System(tmp_path_factory.mktemp("records"), lag="0")
    try:
        started.ready()
        yield started
    finally:
        started.end()


def broker(system: System) -> str:
    """HOST:PORT of the embedded broker of the system."""
    return f"127.0.0.1:{system.settings['embedded_port']}"


@pytest.mark.field(1)
@pytest.mark.parametrize("name", CODECS[1:])
def test_the_library_for_every_codec_is_installed(name: str) -> None:
    assert getattr(codec, f"has_{name}")()


@pytest.mark.field(1)
@pytest.mark.parametrize("name", CODECS)
def test_every_reader_supports_every_codec(system: System, name: str, now: Callable[[str], None]) -> None:
    assert_readable(system, send_compressed(broker(system), name, 50))
    audit = system.saga("audit", "--broker", f"kafka://{broker(system)}")
    assert audit.returncode == 0, audit.stdout
    now(f"{name} is read")


@pytest.mark.field(2, 3)
@pytest.mark.parametrize(
    ("id", "timestamp"),
    [("y57742", 253_402_300_800_000), ("last", 2**63 - 1), ("days", 172_800), ("hours", 7200), ("zero", 1)],
)
def test_any_timestamp_of_a_client_is_accepted(
    system: System, id: str, timestamp: int, now: Callable[[str], None]
) -> None:
    is_absolute = timestamp > 10**9 or timestamp == 1  # milliseconds; otherwise seconds from now
    send(broker(system), id, timestamp=timestamp if is_absolute else int((time() + timestamp) * 1000))
    row = wait_until_completed(system, id)
    assert 0 <= row["duration"] < 60
    assert abs(time() - datetime.fromisoformat(row["started_at"]).timestamp()) < 120
    assert not row["overdue"]
    assert ask(system, f"/api/sagas/{id}/trace?raw=true")["entries"]
    assert has_no_restarts(system)
    now(f"{id}: completed in {row['duration']:.1f} s")


@pytest.mark.field(5)
def test_a_structured_event_starts_a_saga_and_a_batch_is_refused(system: System) -> None:
    data = json.loads(user("structured"))
    event = {"specversion": "1.0", "id": "e1", "source": "/hr", "type": "hired", "data": data}
    kind = "application/cloudevents+json; charset=utf-8"
    send(broker(system), "structured", json.dumps(event).encode(), headers=[("content-type", kind.encode())])
    wait_until_completed(system, "structured")
    batch = [("content-type", b"application/cloudevents-batch+json")]
    send(broker(system), "batched", json.dumps([event]).encode(), headers=batch)

    def reasons() -> list[str]:
        return [item["reason"] for item in ask(system, "/api/errors?id=batched")["items"]]

    assert "application/cloudevents-batch+json" in until(reasons, 30, "the batch was not refused")[0]


@pytest.mark.field(4)
def test_the_trace_context_of_a_client_is_passed_through_all_topics(system: System) -> None:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    send(broker(system), "traced", headers=[("traceparent", parent), ("tracestate", b"a=1,b=2")])
    wait_until_completed(system, "traced")
    entries = ask(system, "/api/sagas/traced/trace?raw=true")["entries"]
    headers = {entry["topic"]: entry["raw"]["headers"] for entry in entries if entry["kind"] == "requested"}
    assert set(headers) == {"new-user", "authorize", "notify", "notified"}
    assert all(each["traceparent"].split("-")[1] == parent.decode().split("-")[1] for each in headers.values())
    assert all(each["tracestate"] == "a=1,b=2" for each in headers.values())
    assert len({each["traceparent"] for each in headers.values()}) == 4
    assert headers["notified"]["content-type"] == "application/json"


@pytest.mark.parametrize("name", CODECS)
def test_a_header_name_that_is_not_utf_8_stops_no_process(system: System, name: str) -> None:
    send_with_odd_header(broker(system), f"odd-{name}", name)
    send(broker(system), f"after-{name}")
    assert_readable(system, [f"odd-{name}", f"after-{name}"])
    assert has_no_restarts(system)


@pytest.mark.field(3)
def test_a_dead_letter_keeps_the_id_of_its_saga(system: System, now: Callable[[str], None]) -> None:
    send(broker(system), "parked-one", b'{"v":9,"id":"parked-one"}')

    def letters() -> list[dict[str, str]]:
        items: list[dict[str, str]] = ask(system, "/api/errors?id=parked-one")["items"]
        return items

    [letter] = until(letters, 30, "the console does not list the dead letter")
    place = f"{letter['topic']}/{letter['partition']}/{letter['offset']}"
    whole = ask(system, f"/api/errors/{place}")
    assert base64.b64decode(whole["value_base64"]) == b'{"v":9,"id":"parked-one"}'
    now(f"dead letter of {letter['id']}: {letter['reason']}")


def test_a_deleted_index_is_rebuilt_from_all_records(system: System, tmp_path: Path) -> None:
    """The topics contain the records of all tests above."""
    count = ask(system, "/api/sagas?limit=1")["total"]
    process = system.child("agents:console")
    for file in Path(system.settings["datadir"]).rglob("*.sqlite*"):
        file.unlink()
    process.kill()

    def is_rebuilt() -> bool:
        try:
            return bool(ask(system, "/api/sagas?limit=1")["total"] == count)
        except OSError:
            return False

    until(is_rebuilt, 60, "the index was not rebuilt")
