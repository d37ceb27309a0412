"""What the broker refuses for good parks its saga, and nothing else: on a real Kafka with small limits."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from saga_app.active_plan import ROWS_CHANGELOG, EFFECTS_CHANGELOGS
from saga_app.saga.messages import DEAD_LETTER, DLQ, DeadLetter, Message, decode, encode
from tests.kafka.test_saga import SERVICES, ask, pids, running, states
from devtools.real_kafka import RealKafka
from devtools.system import System
from tests.topics import Read, read, rows, send, user
from devtools.wait import until

pytestmark = pytest.mark.field(32)

Now = Callable[[str], None]
MAX = "max.message.bytes"

#: Sagas that begin in the middle, with facts of so many bytes: the last one's request to the Notifier is too large.
FORGED = {"facts0": 900_000, "facts1": 1_047_000, "facts2": 1_047_600}


def limit(bootstrap: str, topic: str, size_bytes: int | None) -> None:
    """The largest batch that a topic accepts; None for the broker's default."""
    operation = AlterConfigOpType.DELETE if size_bytes is None else AlterConfigOpType.SET
    entry = ConfigEntry(MAX, None if size_bytes is None else str(size_bytes), incremental_operation=operation)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(20)


@pytest.fixture(scope="module")
def kafka(kafka_of_module: str) -> str:
    """Not the shared broker: these tests change the limits of its topics."""
    return kafka_of_module


@pytest.fixture(scope="module")
def system(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A worker of each service."""
    yield from running(tmp_path_factory.mktemp("refusals"), kafka, lag="0")


@pytest.fixture(autouse=True)
def same_workers(system: System) -> Iterator[None]:
    """No test here may end a worker."""
    before = {service: pids(system, service) for service in SERVICES}
    yield
    assert {service: pids(system, service) for service in SERVICES} == before


def letters(bootstrap: str, id: str) -> list[tuple[DeadLetter, Read]]:
    """The dead letters with this key, oldest first."""
    found = [record for record in read(bootstrap, DLQ) if record.key == id.encode()]
    return [(decode(DeadLetter, record.headers[DEAD_LETTER]), record) for record in found]


def redriven(system: System, name: str) -> int:
    """Redrive a saga or a dead letter; how many were sent."""
    return int(ask(f"{system.url}/api/errors/redrive", {"ids": [name]})[1].get("count", 0))


def named(id: str, name: str) -> tuple[bytes, bytes]:
    """The request of a user with this name, as a record."""
    about = {"name": name, "email": "a@example.com", "department": "Sales"}
    return id.encode(), json.dumps(json.loads(user(id)) | {"user": about}).encode()


def large(bootstrap: str, topic: str, key: bytes, value: bytes, headers: Any = None) -> None:
    """Send one record of several megabytes."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 8_000_000})
    producer.produce(topic, value, key, headers=headers)
    assert producer.flush(20) == 0


def test_one_whose_request_is_refused_is_parked_and_the_others_complete(kafka: str, system: System, now: Now) -> None:
    limit(kafka, "notify", 1500)
    many = [named(f"short{n}", "Ada") for n in range(200)]
    many[100:100] = [named("longer", "😀" * 200)]
    send(kafka, "new-user", many)
    until(lambda: states(kafka, "short")["completed"] == 200, 60, "the others completed", every_s=0.5)
    until(lambda: states(kafka, "longer")["parked"] == 1, 20, "the saga is parked", every_s=0.5)
    [(letter, record)] = letters(kafka, "longer")
    assert (letter.topic, letter.step, letter.refused_by) == ("authorize", "authorize", "notify")
    assert "MSG_SIZE_TOO_LARGE" in letter.reason
    assert decode(Message, record.value).id == "longer", "the original"
    now(f"{dict(states(kafka, 'longer'))}: {letter.reason}")
    limit(kafka, "notify", None)
    until(lambda: ask(f"{system.url}/api/sagas/longer")[1].get("state") == "parked", 20, "the console knows it")
    assert redriven(system, "longer") == 1
    until(lambda: states(kafka, "longer")["completed"] == 1, 30, "redriven after the limit was raised", every_s=0.5)


def test_the_first_request_of_a_saga_that_is_refused_parks_it_too(kafka: str, system: System, now: Now) -> None:
    limit(kafka, "authorize", 400)
    send(kafka, "new-user", [named("first", "Ada")])
    until(lambda: states(kafka, "first")["parked"] == 1, 30, "the saga is parked", every_s=0.5)
    assert rows(kafka)["first"][-1].step == "authorize"
    until(lambda: ask(f"{system.url}/api/sagas/first")[1].get("state") == "parked", 20, "the console knows it")
    assert redriven(system, "first") == 1
    until(lambda: len(letters(kafka, "first")) == 2, 30, "refused again, and parked again", every_s=0.5)
    until(lambda: rows(kafka)["first"][-1].state == "parked", 30, "parked again", every_s=0.5)
    limit(kafka, "authorize", None)
    until(lambda: ask(f"{system.url}/api/sagas/first")[1]["attempt"] == 2, 20, "the console knows the second attempt")
    until(lambda: redriven(system, "first") == 1, 40, "redriven", every_s=1)
    until(lambda: states(kafka, "first")["completed"] == 1, 30, "it completes", every_s=0.5)
    now("parked at authorize, twice, and completed once the limit was raised")


def test_a_dead_letter_that_is_too_large_is_stored_cut_and_says_so(kafka: str, system: System, now: Now) -> None:
    limit(kafka, "new-user", 5_000_000)
    garbage = b"\xff" * 3_000_000
    large(kafka, "new-user", b"cut-garbage", garbage)
    large(kafka, "new-user", b"cut-headers", b"?", [("ballast", b"h" * 2_500_000), ("small", b"1")])
    large(kafka, "new-user", b"cut-ok", user("cut-ok"), [("ballast", b"h" * 1_500_000)])
    until(lambda: states(kafka, "cut-ok")["completed"] == 1, 30, "large headers stop nothing", every_s=0.5)
    until(lambda: letters(kafka, "cut-garbage") and letters(kafka, "cut-headers"), 30, "both letters", every_s=0.5)
    [(letter, record)] = letters(kafka, "cut-garbage")
    assert record.value == garbage[: letter.kept_bytes]
    assert letter.original_bytes == 3_000_000
    [(_, record)] = letters(kafka, "cut-headers")
    assert (record.value, record.headers["small"], "ballast" in record.headers) == (b"?", b"1", False)
    name = f"new-user[{letter.partition}]@{letter.offset}"
    until(lambda: ask(f"{system.url}/api/errors/new-user/{letter.partition}/{letter.offset}")[0] == 200, 20, "shown")
    shown = system.saga("errors", name)
    assert "65,536 of 3,000,000 bytes" in shown.stdout, shown
    assert redriven(system, name) == 1
    until(lambda: sum(r.value == garbage for r in read(kafka, "new-user")) == 2, 20, "the original was sent again")
    now(f"{letter.reason}; {letter.kept_bytes} of {letter.original_bytes} bytes stored")


def test_facts_of_nearly_a_megabyte_stop_nothing(kafka: str, system: System, now: Now) -> None:
    send(kafka, "new-user", [named("facts", "Ada")])
    until(lambda: states(kafka, "facts")["completed"] == 1, 30, "completed", every_s=0.5)
    [request] = [decode(Message, r.value) for r in read(kafka, "authorize") if r.key == b"facts"]
    for id, size in FORGED.items():
        request.id, request.facts = id, {"device_id": "TB-1", "notes": "n" * size}
        large(kafka, "authorize", id.encode(), encode(request))
    until(lambda: states(kafka, "facts") == {"completed": 3, "parked": 1}, 40, "each has come to an end", every_s=1)
    now(f"{dict(states(kafka, 'facts'))}")


def test_a_row_that_the_changelog_refuses_stops_nothing(kafka: str, system: System, now: Now) -> None:
    for changelog in (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values()):
        limit(kafka, changelog, 300)
    try:
        send(kafka, "new-user", [named(f"row{n}", "Ada") for n in range(20)])
        until(lambda: {r.key for r in read(kafka, DLQ)} >= {b"row%d" % n for n in range(20)}, 40, "all are parked")
        until(lambda: all(s["lag"] == 0 for s in ask(f"{system.url}/api/stats")[1]["services"].values()), 30, "no lag")
        now(letters(kafka, "row0")[0][0].reason)
    finally:
        for changelog in (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values()):
            limit(kafka, changelog, 2_097_152)
    until(lambda: ask(f"{system.url}/api/sagas/row0")[1].get("state") == "parked", 20, "the console knows it")
    assert ask(f"{system.url}/api/errors/redrive", {"filter": {"q": "row"}})[0] == 200
    until(lambda: states(kafka, "row")["completed"] == 20, 40, "redriven after the limit was raised", every_s=0.5)


def test_a_dlq_that_takes_nothing_is_waited_for_and_named(kafka: str, system: System, now: Now) -> None:
    limit(kafka, DLQ, 200)
    port = system.settings["provisioner_port"]
    ready = f"http://127.0.0.1:{port}/health/ready"
    try:
        send(kafka, "new-user", [(b"nowhere", b"\xff")])
        reason = until(lambda: ask(ready)[1].get("reason"), 20, "not ready")
        assert "dead letters cannot be stored" in reason
        now(reason)
        send(kafka, "new-user", [named("meanwhile", "Ada")])
        until(lambda: states(kafka, "meanwhile")["completed"] == 1, 20, "others go on")
    finally:
        limit(kafka, DLQ, 2_097_152)
    until(lambda: ask(ready)[0] == 200, 20, "ready again")
    until(lambda: letters(kafka, "nowhere"), 20, "it is stored")


def test_what_was_refused_adds_up(kafka: str, system: System) -> None:
    done = system.saga("audit", "--broker", f"kafka://{kafka}", "--json")
    found = [finding for finding in json.loads(done.stdout)["findings"] if finding["saga"] not in FORGED]
    assert found == []
