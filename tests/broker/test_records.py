"""Records that other clients write, on the embedded broker: every reader reads all of them."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time

import pytest
from aiokafka import codec

from devtools.system import System
from devtools.wait import until
from saga_app.saga.times import epoch
from tests.foreign_clients import (
    CODECS,
    all_read,
    ask,
    completed,
    is_quiet,
    send,
    send_compressed,
    send_with_odd_header,
)
from tests.topics import user


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One for all of them: what one test has written must not trouble the next."""
    started = System(tmp_path_factory.mktemp("records"), lag="0")
    try:
        started.ready()
        yield started
    finally:
        started.end()


def broker(system: System) -> str:
    return f"127.0.0.1:{system.settings['embedded_port']}"


@pytest.mark.field(1)
@pytest.mark.parametrize("name", CODECS[1:])
def test_the_library_for_every_codec_is_installed(name: str) -> None:
    assert getattr(codec, f"has_{name}")()


@pytest.mark.field(1)
@pytest.mark.parametrize("name", CODECS)
def test_every_reader_reads_every_codec(system: System, name: str, now: Callable[[str], None]) -> None:
    all_read(system, send_compressed(broker(system), name, 50))
    audit = system.saga("audit", "--broker", f"kafka://{broker(system)}")
    assert audit.returncode == 0, audit.stdout
    now(f"{name} is read")


@pytest.mark.field(2, 3)
@pytest.mark.parametrize(
    ("id", "timestamp"),
    [("y57742", 253_402_300_800_000), ("last", 2**63 - 1), ("days", 172_800), ("hours", 7200), ("zero", 1)],
)
def test_no_timestamp_stops_anything(system: System, id: str, timestamp: int, now: Callable[[str], None]) -> None:
    ahead = timestamp if timestamp > 10**9 or timestamp == 1 else int((time() + timestamp) * 1000)
    send(broker(system), id, timestamp=ahead)
    shown = completed(system, id)
    assert 0 <= shown["duration"] < 60
    assert abs(time() - epoch(shown["started_at"])) < 120
    assert not shown["overdue"]
    assert ask(system, f"/api/sagas/{id}/trace?raw=true")["entries"]
    assert is_quiet(system)
    now(f"{id}: completed in {shown['duration']:.1f} s")


@pytest.mark.field(5)
def test_a_structured_event_begins_a_saga_and_a_batch_is_refused_by_name(system: System) -> None:
    data = json.loads(user("structured"))
    event = {"specversion": "1.0", "id": "e1", "source": "/hr", "type": "hired", "data": data}
    kind = "application/cloudevents+json; charset=utf-8"
    send(broker(system), "structured", json.dumps(event).encode(), headers=[("content-type", kind.encode())])
    completed(system, "structured")
    batch = [("content-type", b"application/cloudevents-batch+json")]
    send(broker(system), "batched", json.dumps([event]).encode(), headers=batch)

    def refused() -> list[str]:
        return [item["reason"] for item in ask(system, "/api/errors?id=batched")["items"]]

    assert "application/cloudevents-batch+json" in until(refused, 30, "the batch is refused")[0]


@pytest.mark.field(4)
def test_the_trace_of_a_client_goes_through_all_topics(system: System) -> None:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    send(broker(system), "traced", headers=[("traceparent", parent), ("tracestate", b"a=1,b=2")])
    completed(system, "traced")
    entries = ask(system, "/api/sagas/traced/trace?raw=true")["entries"]
    headers = {entry["topic"]: entry["raw"]["headers"] for entry in entries if entry["kind"] == "requested"}
    assert set(headers) == {"new-user", "authorize", "notify", "notified"}
    assert all(each["traceparent"].split("-")[1] == parent.decode().split("-")[1] for each in headers.values())
    assert all(each["tracestate"] == "a=1,b=2" for each in headers.values())
    assert len({each["traceparent"] for each in headers.values()}) == 4
    assert headers["notified"]["content-type"] == "application/json"


@pytest.mark.parametrize("name", CODECS)
def test_a_header_name_that_is_not_utf_8_stops_nobody(system: System, name: str) -> None:
    send_with_odd_header(broker(system), f"odd-{name}", name)
    send(broker(system), f"after-{name}")
    all_read(system, [f"odd-{name}", f"after-{name}"])
    assert is_quiet(system)


@pytest.mark.field(3)
def test_what_is_parked_keeps_the_id_of_its_saga(system: System, now: Callable[[str], None]) -> None:
    send(broker(system), "parked-one", b'{"v":9,"id":"parked-one"}')

    def found() -> list[dict[str, str]]:
        items: list[dict[str, str]] = ask(system, "/api/errors?id=parked-one")["items"]
        return items

    [letter] = until(found, 30, "it is under Errors")
    place = f"{letter['topic']}/{letter['partition']}/{letter['offset']}"
    whole = ask(system, f"/api/errors/{place}")
    assert base64.b64decode(whole["value_base64"]) == b'{"v":9,"id":"parked-one"}'
    now(f"dead letter of {letter['id']}: {letter['reason']}")


def test_a_new_index_reads_all_of_it_again(system: System, tmp_path: Path) -> None:
    """What is in the topics after the tests above."""
    count = ask(system, "/api/sagas?limit=1")["total"]
    process = system.child("agents:console")
    for file in Path(system.settings["datadir"]).rglob("*.sqlite*"):
        file.unlink()
    process.kill()

    def has_read_it() -> bool:
        try:
            return bool(ask(system, "/api/sagas?limit=1")["total"] == count)
        except OSError:
            return False

    until(has_read_it, 60, "the index is rebuilt")
