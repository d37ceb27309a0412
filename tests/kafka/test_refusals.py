"""A record that the broker refuses permanently parks its saga and affects no other. A real Kafka with small limits."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from devtools.http_client import ask
from devtools.system import System
from devtools.wait import until
from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga.codec import decode, encode
from saga_app.saga.messages import DEAD_LETTER, DLQ, DeadLetter, Message
from tests.kafka.kafka_system import SERVICES, count_states, running_system, worker_pids
from tests.topics import Record, configure_topic, read, rows, send, user

pytestmark = pytest.mark.field(32)

Now = Callable[[str], None]

#: Size of the facts (bytes) by saga id, for forged requests to the Authorizer. Only the last saga's next request, to
#: the Notifier, exceeds the limit of the broker.
FORGED = {"facts0": 900_000, "facts1": 1_047_000, "facts2": 1_047_600}


def limit(bootstrap: str, topic: str, size_bytes: int | None) -> None:
    """Set the largest batch that a topic accepts; None resets it to the default of the broker."""
    configure_topic(bootstrap, topic, {"max.message.bytes": None if size_bytes is None else str(size_bytes)})


@pytest.fixture(scope="module")
def kafka(kafka_of_module: str) -> str:
    """A broker for this module: its tests change the limits of topics."""
    return kafka_of_module


@pytest.fixture(scope="module")
def system(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One worker of each service."""
    yield from running_system(tmp_path_factory.mktemp("refusals"), kafka, lag="0")


@pytest.fixture(autouse=True)
def same_workers(system: System) -> Iterator[None]:
    """Check that the test restarted no worker."""
    before = {service: worker_pids(system, service) for service in SERVICES}
    yield
    assert {service: worker_pids(system, service) for service in SERVICES} == before


def dead_letters(bootstrap: str, id: str) -> list[tuple[DeadLetter, Record]]:
    """The dead letters with this key and their records."""
    found = [record for record in read(bootstrap, DLQ) if record.key == id.encode()]
    return [(decode(DeadLetter, record.headers[DEAD_LETTER]), record) for record in found]


def redrive(system: System, name: str) -> int:
    """Redrive a saga or a dead letter; return how many were sent."""
    return int(ask(f"{system.url}/api/errors/redrive", {"ids": [name]})[1].get("count", 0))


def request_for(id: str, name: str) -> tuple[bytes, bytes]:
    """Key and value of the request to onboard a user with this name."""
    about = {"name": name, "email": "a@example.com", "department": "Sales"}
    return id.encode(), json.dumps(json.loads(user(id)) | {"user": about}).encode()


def send_large(bootstrap: str, topic: str, key: bytes, value: bytes, headers: Any = None) -> None:
    """Send one record of up to 8 MB."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 8_000_000})
    producer.produce(topic, value, key, headers=headers)
    assert producer.flush(20) == 0


def test_a_saga_whose_request_is_too_large_is_parked_and_others_complete(kafka: str, system: System, now: Now) -> None:
    limit(kafka, "notify", 1500)
    requests = [request_for(f"short{n}", "Ada") for n in range(200)]
    requests[100:100] = [request_for("longer", "😀" * 200)]
    send(kafka, "new-user", requests)
    until(lambda: count_states(kafka, "short")["completed"] == 200, 60, "the other sagas did not complete", every_s=0.5)
    until(lambda: count_states(kafka, "longer")["parked"] == 1, 20, "the saga was not parked", every_s=0.5)
    [(letter, record)] = dead_letters(kafka, "longer")
    assert (letter.topic, letter.step, letter.refused_by) == ("authorize", "authorize", "notify")
    assert "MSG_SIZE_TOO_LARGE" in letter.reason
    assert decode(Message, record.value).id == "longer"
    now(f"{dict(count_states(kafka, 'longer'))}: {letter.reason}")
    limit(kafka, "notify", None)
    until(
        lambda: ask(f"{system.url}/api/sagas/longer")[1].get("state") == "parked",
        20,
        "the console does not show it as parked",
    )
    assert redrive(system, "longer") == 1
    until(
        lambda: count_states(kafka, "longer")["completed"] == 1, 30, "the redriven saga did not complete", every_s=0.5
    )


def test_a_saga_whose_first_request_is_too_large_is_parked(kafka: str, system: System, now: Now) -> None:
    limit(kafka, "authorize", 400)
    send(kafka, "new-user", [request_for("first", "Ada")])
    until(lambda: count_states(kafka, "first")["parked"] == 1, 30, "the saga was not parked", every_s=0.5)
    assert rows(kafka)["first"][-1].step == "authorize"
    until(
        lambda: ask(f"{system.url}/api/sagas/first")[1].get("state") == "parked",
        20,
        "the console does not show it as parked",
    )
    assert redrive(system, "first") == 1
    until(lambda: len(dead_letters(kafka, "first")) == 2, 30, "no second dead letter was stored", every_s=0.5)
    until(lambda: rows(kafka)["first"][-1].state == "parked", 30, "the saga was not parked again", every_s=0.5)
    limit(kafka, "authorize", None)
    until(lambda: ask(f"{system.url}/api/sagas/first")[1]["attempt"] == 2, 20, "the console does not show attempt 2")
    until(lambda: redrive(system, "first") == 1, 40, "the saga was not redriven", every_s=1)
    until(lambda: count_states(kafka, "first")["completed"] == 1, 30, "the saga did not complete", every_s=0.5)
    now("parked at authorize, twice, and completed once the limit was raised")


def test_a_dead_letter_over_the_limit_is_truncated_and_marked(kafka: str, system: System, now: Now) -> None:
    limit(kafka, "new-user", 5_000_000)
    garbage = b"\xff" * 3_000_000
    send_large(kafka, "new-user", b"cut-garbage", garbage)
    send_large(kafka, "new-user", b"cut-headers", b"?", [("ballast", b"h" * 2_500_000), ("small", b"1")])
    send_large(kafka, "new-user", b"cut-ok", user("cut-ok"), [("ballast", b"h" * 1_500_000)])
    until(
        lambda: count_states(kafka, "cut-ok")["completed"] == 1,
        30,
        "the saga with large headers did not complete",
        every_s=0.5,
    )
    until(
        lambda: dead_letters(kafka, "cut-garbage") and dead_letters(kafka, "cut-headers"),
        30,
        "a dead letter was not stored",
        every_s=0.5,
    )
    [(letter, record)] = dead_letters(kafka, "cut-garbage")
    assert record.value == garbage[: letter.kept_bytes]
    assert letter.original_bytes == 3_000_000
    [(_, record)] = dead_letters(kafka, "cut-headers")
    assert (record.value, record.headers["small"], "ballast" in record.headers) == (b"?", b"1", False)
    name = f"new-user[{letter.partition}]@{letter.offset}"
    until(
        lambda: ask(f"{system.url}/api/errors/new-user/{letter.partition}/{letter.offset}")[0] == 200,
        20,
        "the console does not show the dead letter",
    )
    shown = system.saga("errors", name)
    assert "65,536 of 3,000,000 bytes" in shown.stdout, shown
    assert redrive(system, name) == 1
    until(lambda: sum(r.value == garbage for r in read(kafka, "new-user")) == 2, 20, "the original was not sent again")
    now(f"{letter.reason}; {letter.kept_bytes} of {letter.original_bytes} bytes stored")


def test_facts_of_nearly_a_megabyte_complete_or_park_their_saga(kafka: str, system: System, now: Now) -> None:
    send(kafka, "new-user", [request_for("facts", "Ada")])
    until(lambda: count_states(kafka, "facts")["completed"] == 1, 30, "the saga did not complete", every_s=0.5)
    [request] = [decode(Message, r.value) for r in read(kafka, "authorize") if r.key == b"facts"]
    for id, size in FORGED.items():
        request.id, request.facts = id, {"device_id": "TB-1", "notes": "n" * size}
        send_large(kafka, "authorize", id.encode(), encode(request))
    until(
        lambda: count_states(kafka, "facts") == {"completed": 3, "parked": 1},
        40,
        "expected 3 completed sagas and 1 parked",
        every_s=1,
    )
    now(f"{dict(count_states(kafka, 'facts'))}")


def test_a_saga_whose_row_the_changelog_refuses_is_parked(kafka: str, system: System, now: Now) -> None:
    for changelog in (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values()):
        limit(kafka, changelog, 300)
    try:
        send(kafka, "new-user", [request_for(f"row{n}", "Ada") for n in range(20)])
        until(
            lambda: {r.key for r in read(kafka, DLQ)} >= {b"row%d" % n for n in range(20)},
            40,
            "not all 20 sagas have dead letters",
        )
        until(
            lambda: all(s["lag"] == 0 for s in ask(f"{system.url}/api/stats")[1]["services"].values()),
            30,
            "the lag is not 0",
        )
        now(dead_letters(kafka, "row0")[0][0].reason)
    finally:
        for changelog in (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values()):
            limit(kafka, changelog, 2_097_152)
    until(
        lambda: ask(f"{system.url}/api/sagas/row0")[1].get("state") == "parked",
        20,
        "the console does not show it as parked",
    )
    assert ask(f"{system.url}/api/errors/redrive", {"filter": {"q": "row"}})[0] == 200
    until(lambda: count_states(kafka, "row")["completed"] == 20, 40, "the redriven sagas did not complete", every_s=0.5)


def test_a_dlq_that_refuses_records_makes_its_service_unready(kafka: str, system: System, now: Now) -> None:
    limit(kafka, DLQ, 200)
    port = system.settings["provisioner_port"]
    ready_url = f"http://127.0.0.1:{port}/health/ready"
    try:
        send(kafka, "new-user", [(b"nowhere", b"\xff")])
        reason = until(lambda: ask(ready_url)[1].get("reason"), 20, "the Provisioner reports no reason")
        assert "dead letters cannot be stored" in reason
        now(reason)
        send(kafka, "new-user", [request_for("valid", "Ada")])
        until(lambda: count_states(kafka, "valid")["completed"] == 1, 20, "a valid request did not complete")
    finally:
        limit(kafka, DLQ, 2_097_152)
    until(lambda: ask(ready_url)[0] == 200, 20, "the Provisioner did not become ready again")
    until(lambda: dead_letters(kafka, "nowhere"), 20, "the dead letter was not stored")


def test_the_audit_finds_no_inconsistency_after_the_refusals(kafka: str, system: System) -> None:
    done = system.saga("audit", "--broker", f"kafka://{kafka}", "--json")
    findings = [finding for finding in json.loads(done.stdout)["findings"] if finding["saga"] not in FORGED]
    assert findings == []
