"""The whole system on a real Kafka: many users, killed workers, other clients, invalid records, an outage."""

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from devtools.http_client import ask
from devtools.real_kafka import RealKafka
from devtools.system import System
from devtools.wait import until
from saga_app.saga.codec import decode
from saga_app.saga.messages import DEAD_LETTER, DLQ, DeadLetter, Message
from saga_app.stream import partition_of
from tests.kafka.kafka_system import SERVICES, count_states, list_sagas, running_system, view_rows, worker_pids
from tests.topics import kcat, read, rows, send, user

Start = Callable[..., System]


@pytest.fixture(scope="module")
def two_workers(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two workers of each service. The tests that use it depend on their order: the last one stops it."""
    yield from running_system(tmp_path_factory.mktemp("two"), kafka, "--workers", "2", lag="0-0.5")


@pytest.fixture(scope="module")
def one_worker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running worker of each service, for tests that stop none of them."""
    yield from running_system(tmp_path_factory.mktemp("one"), kafka, lag="0-0.1")


def test_all_users_complete_once_when_workers_are_killed(kafka: str, two_workers: System) -> None:
    users = [
        {"id": f"kill{n}", "name": f"N{n}", "email": f"n{n}@example.com", "department": "Sales"} for n in range(2000)
    ]
    for start in range(0, 2000, 250):
        status, _ = ask(f"{two_workers.url}/api/users", users[start : start + 250])
        assert status == 202
        if start in (500, 1000, 1500):
            os.kill(worker_pids(two_workers, SERVICES[start // 500 - 1])[0], signal.SIGKILL)
    try:
        until(lambda: count_states(kafka, "kill")["completed"] == 2000, 90, "not all 2,000 users completed", every_s=1)
    except AssertionError as error:
        services = ask(f"{two_workers.url}/api/stats")[1]["services"]
        raise AssertionError(f"{count_states(kafka, 'kill')}; {services}; {two_workers.output_tail()}") from error
    mine = {id: versions for id, versions in rows(kafka).items() if id.startswith("kill")}
    assert all(len({v.ended_at for v in versions if v.ended}) == 1 for versions in mine.values()), "a saga ended twice"
    until(
        lambda: ask(f"{two_workers.url}/api/stats")[1]["counts"]["completed"] >= 2000,
        20,
        "the console does not count them",
    )
    listed_ids = Counter(item["id"] for item in list_sagas(two_workers) if item["id"].startswith("kill"))
    assert listed_ids == Counter(f"kill{n}" for n in range(2000))


def test_a_view_answers_503_for_rows_of_a_frozen_worker(kafka: str, two_workers: System) -> None:
    first = two_workers.settings["provisioner_port"]
    until(lambda: len(worker_pids(two_workers, "provisioner")) == 2, 20, "fewer than two Provisioners run")
    until(lambda: has_rows(first) and has_rows(first + 100), 30, "a Provisioner owns no rows")
    until(lambda: statuses(first) == {200}, 30, "the view does not answer 200 for every row")
    [frozen] = [
        process.pid
        for process in two_workers.children()
        if "agents:provisioner" in process.cmdline() and process.environ()["SAGA_PROVISIONER_PORT"] == str(first + 100)
    ]
    os.kill(frozen, signal.SIGSTOP)
    found = statuses(first)
    os.kill(frozen, signal.SIGCONT)
    assert found == {200, 503}
    until(lambda: statuses(first) == {200}, 40, "the view does not answer 200 for every row again")


def has_rows(port: int) -> bool:
    """Whether the view of a worker has rows, so that the worker owns partitions."""
    status, answer = ask(f"http://127.0.0.1:{port}/sagas/?limit=1")
    return status == 200 and bool(answer["items"])


def statuses(port: int) -> set[int]:
    """The status codes of a worker's view for rows of all partitions, asked at once.

    One after the other, they would take so long that the group removes a frozen worker meanwhile.
    """
    urls = [f"http://127.0.0.1:{port}/sagas/kill{n}" for n in range(25)]
    with ThreadPoolExecutor(len(urls)) as threads:
        return {status for status, _ in threads.map(ask, urls)}


def test_memory_and_rocksdb_hold_the_same_rows_and_any_worker_answers(
    kafka: str, two_workers: System, start_system: Start
) -> None:
    ports = [two_workers.settings["provisioner_port"], two_workers.settings["provisioner_port"] + 100]
    for id in [f"kill{n}" for n in range(0, 2000, 200)]:
        for port in ports:
            url = f"http://127.0.0.1:{port}/sagas/{id}"
            until(partial(is_completed, url), 30, f"{url} does not show a completed saga")
    assert ask(f"http://127.0.0.1:{ports[0]}/sagas/nobody")[0] == 404
    in_rocksdb = completed_rows(two_workers)
    assert len(in_rocksdb) >= 2000
    two_workers.stop()
    restarted = start_system("--broker", f"kafka://{kafka}", "--workers", "2", lag="0", store="memory://")
    assert completed_rows(restarted) == in_rocksdb
    restarted.stop()


def is_completed(url: str) -> bool:
    """Whether the view answers with a completed saga."""
    return bool(ask(url)[1].get("state") == "completed")


def completed_rows(system: System) -> dict[str, dict[str, Any]]:
    """All completed sagas, from the views of both workers."""
    port = system.settings["provisioner_port"]
    return view_rows(port, "&state=completed") | view_rows(port + 100, "&state=completed")


def test_users_sent_without_a_key_or_with_another_partitioner_complete(kafka: str, one_worker: System) -> None:
    ids = [f"kcat{n}" for n in range(24)]
    kcat(kafka, "new-user", "".join(f"{id}|{user(id).decode()}\n" for id in ids[:12]))
    kcat(kafka, "new-user", "".join(f"|{user(id).decode()}\n" for id in ids[12:]))
    until(lambda: count_states(kafka, "kcat")["completed"] == 24, 30, "not all 24 users completed", every_s=0.3)
    requests = [r for r in read(kafka, "new-user") if r.value and b'"kcat' in r.value]
    assert any(r.partition != partition_of(json.loads(r.value)["id"].encode(), 12) for r in requests if r.value)
    partitions = {r.partition for r in read(kafka, "authorize") if r.key == b"kcat0"}
    assert partitions == {partition_of(b"kcat0", 12)}


def test_invalid_records_become_dead_letters_and_restart_no_worker(kafka: str, one_worker: System) -> None:
    before = {service: worker_pids(one_worker, service) for service in SERVICES}
    forged = json.loads(user("g-slip")) | {"slip": {"ahead": ["nowhere"], "back": []}}
    garbage: dict[bytes, tuple[str, bytes | None, str]] = {
        b"g-text": ("new-user", b"hello", "not JSON"),
        b"g-types": ("new-user", b'{"v":1,"id":7,"user":[]}', "id: is not a string"),
        b"g-null": ("authorize", None, "no value"),
        b"g-big": ("notify", b"x" * 1_000_000, "not JSON"),
        b"g-version": ("notified", user("g-version").replace(b'"v": 1', b'"v": 9'), "unknown version"),
        b"g-slip": ("authorize", json.dumps(forged).encode(), "unknown topic nowhere"),
        b"g-number": (
            "new-user",
            user("g-number")[:-1] + b', "attempt": 1' + b"0" * 30 + b"}",
            "attempt: expected int",
        ),
        b"g-none": ("revoke", user("g-none"), "slip: missing"),
    }
    for key, (topic, value, _) in garbage.items():
        send(kafka, topic, [(key, value)])
    until(
        lambda: not (garbage.keys() - {r.key for r in read(kafka, DLQ)}),
        30,
        lambda: f"not in the dlq: {garbage.keys() - {r.key for r in read(kafka, DLQ)}}; {one_worker.output_tail()}",
        every_s=0.3,
    )
    letters = {r.key: r for r in read(kafka, DLQ) if r.key in garbage}
    for key, (topic, value, reason) in garbage.items():
        letter = decode(DeadLetter, letters[key].headers[DEAD_LETTER])
        assert (letters[key].value, letter.topic) == (value, topic)
        assert reason in letter.reason
    send(kafka, "new-user", [(b"after-garbage", user("after-garbage"))])
    until(
        lambda: count_states(kafka, "after-garbage")["completed"] == 1,
        20,
        "the next user did not complete",
        every_s=0.3,
    )
    assert {service: worker_pids(one_worker, service) for service in SERVICES} == before


def test_records_on_kafka_carry_cloudevents_headers_and_the_routing_slip(kafka: str, one_worker: System) -> None:
    send(kafka, "new-user", [(b"wire", user("wire"))])
    until(lambda: count_states(kafka, "wire")["completed"] == 1, 20, "the user did not complete", every_s=0.3)
    [notify] = [record for record in read(kafka, "notify") if record.key == b"wire"]
    assert notify.headers["ce_id"] == b"onboarding:wire:notify:1"
    message = decode(Message, notify.value)
    assert message.slip is not None
    assert (message.slip.ahead, message.slip.back) == (["notified"], ["revoke", "deprovision"])


def test_the_trace_of_a_completed_saga_lists_every_step_and_partition(kafka: str, one_worker: System) -> None:
    send(kafka, "new-user", [(b"traced", user("traced"))])
    until(lambda: count_states(kafka, "traced")["completed"] == 1, 20, "the user did not complete", every_s=0.3)
    until(lambda: ask(f"{one_worker.url}/api/sagas/traced")[0] == 200, 10, "the console does not show the saga")
    _, trace = ask(f"{one_worker.url}/api/sagas/traced/trace")
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


def test_a_wrong_partition_count_is_reported_at_start(kafka: str, one_worker: System, start_system: Start) -> None:
    system = start_system("--broker", f"kafka://{kafka}", partitions=7, wait=False)
    line = system.wait_for_line("SAGA_PARTITIONS is 7", 30)
    assert "has 12 partitions" in line


def test_services_start_before_the_broker_and_survive_a_20_s_outage(own_kafka: RealKafka, start_system: Start) -> None:
    own_kafka.stop()
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0-0.5", wait=False)
    system.wait_for_line("no broker at", 30)
    own_kafka.start()  # it has no topics yet
    system.ready(60)
    send(own_kafka.bootstrap, "new-user", ((b"b%d" % n, user(f"b{n}")) for n in range(500)))
    lines_before = len(system.lines)
    own_kafka.stop()
    stopped_at = time.monotonic()
    status, answer = ask(f"{system.url}/api/users", {"name": "N", "email": "n@example.com", "department": "Sales"})
    assert status == 503
    assert "nothing was accepted" in answer["detail"]
    until(lambda: time.monotonic() - stopped_at > 20, 30, "20 s did not pass")
    own_kafka.start()
    until(
        lambda: count_states(own_kafka.bootstrap, "b")["completed"] == 500, 60, "not all 500 users completed", every_s=1
    )
    lines = Counter(re.sub(r"\d+", "#", line)[:90] for line in system.lines[lines_before:])
    assert lines.total() < 300, f"too many log lines: {lines.most_common(20)}"
