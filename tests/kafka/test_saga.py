"""The whole system on a real Kafka: many users, killed workers, foreign clients, garbage, an outage."""

import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from saga_app.saga.messages import DEAD_LETTER, DLQ, DeadLetter, Message, decode
from saga_app.stream import partition_of
from devtools.real_kafka import RealKafka
from devtools.system import System
from tests.topics import kcat, read, rows, send, user
from devtools.wait import until

Start = Callable[..., System]
SERVICES = ("provisioner", "authorizer", "notifier")


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    """GET, or POST of JSON; status and answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def states(bootstrap: str, prefix: str) -> Counter[str]:
    """How many sagas of a test are in which state, by the changelog."""
    return Counter(versions[-1].state for id, versions in rows(bootstrap).items() if id.startswith(prefix))


def pids(system: System, service: str) -> list[int]:
    """Of its workers."""
    return [each.pid for each in system.children() if f"agents:{service}" in each.cmdline()]


def listed(system: System, query: str = "") -> list[dict[str, Any]]:
    """Every page of the console's list."""
    items: list[dict[str, Any]] = []
    cursor = ""
    for _ in count():
        _, page = ask(f"{system.url}/api/sagas?limit=500{query}{cursor}")
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"
    raise AssertionError


@pytest.fixture(scope="module")
def two(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two workers of each service. The tests that use it stand in this order: the last one ends it."""
    yield from running(tmp_path_factory.mktemp("two"), kafka, "--workers", "2", lag="0-0.5")


@pytest.fixture(scope="module")
def one(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A worker of each, for the tests that do not break it."""
    yield from running(tmp_path_factory.mktemp("one"), kafka, lag="0-0.1")


def running(data: Path, kafka: str, *arguments: str, **settings: Any) -> Iterator[System]:
    """A system on a real broker, ended for certain."""
    system = System(data, "--broker", f"kafka://{kafka}", *arguments, **settings)
    try:
        system.ready()
        yield system
    finally:
        system.end()


def test_two_thousand_users_complete_once_though_a_worker_of_each_service_is_killed(kafka: str, two: System) -> None:
    users = [
        {"id": f"kill{n}", "name": f"N{n}", "email": f"n{n}@example.com", "department": "Sales"} for n in range(2000)
    ]
    for start in range(0, 2000, 250):
        status, _ = ask(f"{two.url}/api/users", users[start : start + 250])
        assert status == 202
        if start in (500, 1000, 1500):
            os.kill(pids(two, SERVICES[start // 500 - 1])[0], signal.SIGKILL)
    try:
        until(lambda: states(kafka, "kill")["completed"] == 2000, 90, "2,000 users completed", every_s=1)
    except AssertionError as error:
        raise AssertionError(
            f"{states(kafka, 'kill')}; {ask(f'{two.url}/api/stats')[1]['services']}; {two.said()}"
        ) from error
    mine = {id: versions for id, versions in rows(kafka).items() if id.startswith("kill")}
    assert all(len({v.ended_at for v in versions if v.ended}) == 1 for versions in mine.values()), "ended once"
    until(lambda: ask(f"{two.url}/api/stats")[1]["counts"]["completed"] >= 2000, 20, "the console has seen it")
    listed_ids = Counter(item["id"] for item in listed(two) if item["id"].startswith("kill"))
    assert listed_ids == Counter(f"kill{n}" for n in range(2000))


def test_a_view_says_to_try_again_while_the_worker_that_owns_the_row_is_away(kafka: str, two: System) -> None:
    first = two.settings["provisioner_port"]
    until(lambda: len(pids(two, "provisioner")) == 2, 20, "both workers are there")
    until(lambda: has_rows(first) and has_rows(first + 100), 30, "each worker has rows of its own")
    until(lambda: answers(first) == {200}, 30, "every row")
    [frozen] = [
        each.pid
        for each in two.children()
        if "agents:provisioner" in each.cmdline() and each.environ()["SAGA_PROVISIONER_PORT"] == str(first + 100)
    ]
    os.kill(frozen, signal.SIGSTOP)
    found = answers(first)
    os.kill(frozen, signal.SIGCONT)
    assert found == {200, 503}
    until(lambda: answers(first) == {200}, 40, "every row again")


def has_rows(port: int) -> bool:
    """Whether a worker has been given partitions."""
    status, answer = ask(f"http://127.0.0.1:{port}/sagas/?limit=1")
    return status == 200 and bool(answer["items"])


def answers(port: int) -> set[int]:
    """What a worker answers when it is asked for rows of all partitions."""
    return {ask(f"http://127.0.0.1:{port}/sagas/kill{n}")[0] for n in range(25)}


def test_either_worker_answers_for_each_row_and_memory_gives_the_same_rows_as_rocksdb(
    kafka: str, two: System, start_system: Start
) -> None:
    ports = [two.settings["provisioner_port"], two.settings["provisioner_port"] + 100]
    for id in [f"kill{n}" for n in range(0, 2000, 200)]:
        for port in ports:
            place = f"http://127.0.0.1:{port}/sagas/{id}"
            until(lambda place=place: ask(place)[1].get("state") == "completed", 30, f"{place} answers")  # type: ignore[misc]
    assert ask(f"http://127.0.0.1:{ports[0]}/sagas/nobody")[0] == 404
    kept = from_both_workers(two)
    assert len(kept) >= 2000
    two.stop()
    again = start_system("--broker", f"kafka://{kafka}", "--workers", "2", lag="0", store="memory://")
    assert from_both_workers(again) == kept
    again.stop()


def from_both_workers(system: System) -> dict[str, dict[str, Any]]:
    """Every row, from the views of the workers, each of which has some."""
    found: dict[str, dict[str, Any]] = {}
    for port in (system.settings["provisioner_port"], system.settings["provisioner_port"] + 100):
        after = ""
        while after is not None:
            _, page = ask(f"http://127.0.0.1:{port}/sagas/?state=completed&limit=1000&after={after}")
            found |= {item["id"]: item for item in page["items"]}
            after = page["next"]
    return found


def test_a_user_sent_by_kcat_with_its_own_partitioner_or_without_a_key_completes(kafka: str, one: System) -> None:
    ids = [f"kcat{n}" for n in range(24)]
    kcat(kafka, "new-user", "".join(f"{id}|{user(id).decode()}\n" for id in ids[:12]))
    kcat(kafka, "new-user", "".join(f"|{user(id).decode()}\n" for id in ids[12:]))
    until(lambda: states(kafka, "kcat")["completed"] == 24, 30, "24 users completed", every_s=0.3)
    placed = [r for r in read(kafka, "new-user") if r.value and b'"kcat' in r.value]
    assert any(r.partition != partition_of(json.loads(r.value)["id"].encode(), 12) for r in placed if r.value)
    homes = {r.partition for r in read(kafka, "authorize") if r.key == b"kcat0"}
    assert homes == {partition_of(b"kcat0", 12)}


def test_garbage_of_every_kind_is_in_the_dlq_with_its_reason_and_the_worker_is_untouched(
    kafka: str, one: System
) -> None:
    before = {service: pids(one, service) for service in SERVICES}
    forged = json.loads(user("g-slip")) | {"slip": {"ahead": ["nowhere"], "back": []}}
    garbage: dict[bytes, tuple[str, bytes | None, str]] = {
        b"g-text": ("new-user", b"hello", "not JSON"),
        b"g-types": ("new-user", b'{"v":1,"id":7,"user":[]}', "id: Input should be a valid string"),
        b"g-null": ("authorize", None, "no value"),
        b"g-big": ("notify", b"x" * 1_000_000, "not JSON"),
        b"g-version": ("notified", user("g-version").replace(b'"v": 1', b'"v": 9'), "unknown version"),
        b"g-slip": ("authorize", json.dumps(forged).encode(), "unknown topic nowhere"),
        b"g-number": (
            "new-user",
            user("g-number")[:-1] + b', "attempt": 1' + b"0" * 30 + b"}",
            "attempt: Input should be",
        ),
        b"g-none": ("revoke", user("g-none"), "slip: missing"),
    }
    for key, (topic, value, _) in garbage.items():
        send(kafka, topic, [(key, value)])
    until(
        lambda: not (garbage.keys() - {r.key for r in read(kafka, DLQ)}),
        30,
        lambda: f"not in the dlq: {garbage.keys() - {r.key for r in read(kafka, DLQ)}}; {one.said()}",
        every_s=0.3,
    )
    letters = {r.key: r for r in read(kafka, DLQ) if r.key in garbage}
    for key, (topic, value, says) in garbage.items():
        letter = decode(DeadLetter, letters[key].headers[DEAD_LETTER])
        assert (letters[key].value, letter.topic) == (value, topic)
        assert says in letter.reason
    send(kafka, "new-user", [(b"after-garbage", user("after-garbage"))])
    until(lambda: states(kafka, "after-garbage")["completed"] == 1, 20, "the next user completed", every_s=0.3)
    assert {service: pids(one, service) for service in SERVICES} == before


def test_the_wire_on_kafka_carries_cloudevents_and_the_slip(kafka: str, one: System) -> None:
    send(kafka, "new-user", [(b"wire", user("wire"))])
    until(lambda: states(kafka, "wire")["completed"] == 1, 20, "the user completed", every_s=0.3)
    [notify] = [record for record in read(kafka, "notify") if record.key == b"wire"]
    assert notify.headers["ce_id"] == b"onboarding:wire:notify:1"
    message = decode(Message, notify.value)
    assert message.slip is not None
    assert (message.slip.ahead, message.slip.back) == (["notified"], ["revoke", "deprovision"])


def test_a_saga_can_be_traced_afterwards_with_topic_partition_and_offset(kafka: str, one: System) -> None:
    send(kafka, "new-user", [(b"traced", user("traced"))])
    until(lambda: states(kafka, "traced")["completed"] == 1, 20, "the user completed", every_s=0.3)
    until(lambda: ask(f"{one.url}/api/sagas/traced")[0] == 200, 10, "the console knows the user")
    _, trace = ask(f"{one.url}/api/sagas/traced/trace")
    assert [(entry["step"], entry["kind"]) for entry in trace["entries"]] == [
        ("provision", "requested"),
        ("provision", "done"),
        ("authorize", "requested"),
        ("authorize", "done"),
        ("notify", "requested"),
        ("notify", "done"),
        ("complete", "requested"),
        ("complete", "completed"),
    ]
    assert {entry["partition"] for entry in trace["entries"]} == {partition_of(b"traced", 12)}


def test_another_partition_count_stops_the_start_with_one_clear_line(
    kafka: str, one: System, start_system: Start
) -> None:
    system = start_system("--broker", f"kafka://{kafka}", partitions=7, wait=False)
    line = system.wait_for_line("SAGA_PARTITIONS is 7", 30)
    assert "has 12 partitions" in line


def test_services_may_start_before_the_broker_and_go_on_by_themselves_after_twenty_seconds_without_it(
    own_kafka: RealKafka, start_system: Start
) -> None:
    own_kafka.stop()
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0-0.5", wait=False)
    system.wait_for_line("no broker at", 30)
    own_kafka.start()  # there are no topics yet either
    system.ready(60)
    send(own_kafka.bootstrap, "new-user", ((b"b%d" % n, user(f"b{n}")) for n in range(500)))
    said = len(system.lines)
    own_kafka.stop()
    gone = time.monotonic()
    status, answer = ask(f"{system.url}/api/users", {"name": "N", "email": "n@example.com", "department": "Sales"})
    assert status == 503
    assert "nothing was accepted" in answer["detail"]
    until(lambda: time.monotonic() - gone > 20, 30, "twenty seconds without a broker")
    own_kafka.start()
    until(lambda: states(own_kafka.bootstrap, "b")["completed"] == 500, 60, "500 users completed", every_s=1)
    lines = Counter(re.sub(r"\d+", "#", line)[:90] for line in system.lines[said:])
    assert lines.total() < 300, f"a flood of log lines: {lines.most_common(20)}"
