"""Changes under a running system on a real Kafka: recreated topics, retention, transactions, another cluster."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from devtools.http_client import ask
from devtools.real_kafka import RealKafka
from devtools.system import PORTS, System
from devtools.wait import until
from saga_app.saga.messages import DLQ
from saga_app.stream import partition_of
from tests.kafka.kafka_system import SERVICES, count_states, running_system
from tests.topics import end_offsets, read, send, user

Now = Callable[[str], None]
Start = Callable[..., System]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def kafka(kafka_of_module: str) -> str:
    """A broker for this module: its tests delete topics."""
    return kafka_of_module


@pytest.fixture(scope="module")
def system(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One worker of each service."""
    yield from running_system(tmp_path_factory.mktemp("changes"), kafka, lag="0")


def readiness(system: System, service: str) -> tuple[int, Any]:
    """Status and body of a service's readiness check; the status is 0 while the service restarts."""
    try:
        return ask(f"http://127.0.0.1:{system.settings[f'{service}_port']}/health/ready")
    except urllib.error.URLError as error:
        return 0, {"reason": str(error)}


def console_not_ready(system: System) -> str | None:
    """Why the console is not ready, or None if it is."""
    reason: str | None = ask(f"{system.url}/api/stats")[1]["not_ready"]
    return reason


def onboard(bootstrap: str, prefix: str, count: int = 20) -> None:
    """Send new users and wait until they have completed."""
    ids = [f"{prefix}{n}" for n in range(count)]
    send(bootstrap, "new-user", [(id.encode(), user(id)) for id in ids], partitioner="murmur2_random")
    until(
        lambda: count_states(bootstrap, prefix)["completed"] == count,
        90,
        f"not all {prefix} users completed",
        every_s=0.5,
    )


def has_reason(system: System, service: str, text: str) -> bool:
    """Whether the readiness check of a service fails with this text in its reason."""
    return text in str(readiness(system, service)[1].get("reason"))


def wait_until_ready(system: System) -> None:
    """Wait until every service is ready."""
    until(lambda: all(readiness(system, service)[0] == 200 for service in SERVICES), 90, "a service is not ready")


@pytest.mark.field(34)
def test_deleted_topics_are_reported_and_created_again(kafka: str, system: System, now: Now) -> None:
    onboard(kafka, "before")
    written = [
        f"{topic}[{p}]" for topic in ("notify", "new-user") for p, end in end_offsets(kafka, topic).items() if end
    ]
    admin = AdminClient({"bootstrap.servers": kafka})
    for topic in ("notify", "new-user", DLQ):
        admin.delete_topics([topic])[topic].result(20)

    def reason() -> str:
        reasons = [str(readiness(system, service)[1].get("reason")) for service in (*SERVICES, "console")]
        return next((each for each in reasons if "they were deleted while the service was running" in each), "")

    now(until(reason, 30, "no service reported the deleted topics", every_s=0.02))
    wait_until_ready(system)

    def unreported() -> list[str]:
        losses = [line for line in system.lines if "records are lost" in line]
        return [place for place in written if not any(f"partition={place}" in line for line in losses)]

    until(
        lambda: not unreported(),
        60,
        lambda: f"unreported losses: {unreported()}; {system.output_tail()}",
    )
    onboard(kafka, "after")


def produce_transaction(bootstrap: str, ids: list[str], end: str) -> Producer:
    """Send new users in one transaction. `end`: "commit", "abort", or "open" to leave it open."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"tests-{end}-{ids[0]}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for id in ids:
        producer.produce("new-user", user(id), id.encode(), partition_of(id.encode(), 12))
    producer.flush(20)
    if end == "commit":
        producer.commit_transaction(20)
    elif end == "abort":
        producer.abort_transaction(20)
    return producer


def services(system: System) -> dict[str, Any]:
    """The services as the console reports them, by name."""
    return dict(ask(f"{system.url}/api/stats")[1]["services"])


@pytest.mark.field(35)
def test_aborted_transactions_start_no_saga_and_count_as_no_lag(kafka: str, system: System, now: Now) -> None:
    produce_transaction(kafka, [f"aborted{n}" for n in range(12)], "abort")
    produce_transaction(kafka, [f"committed{n}" for n in range(12)], "commit")
    produce_transaction(kafka, [f"aborted{n}" for n in range(12, 24)], "abort")
    until(
        lambda: count_states(kafka, "committed")["completed"] == 12,
        60,
        "not all committed users completed",
        every_s=0.5,
    )
    until(
        lambda: all(each["lag"] == 0 for each in services(system).values()),
        30,
        lambda: f"the lag is not 0: {services(system)}",
    )
    until(
        lambda: committed_offsets(kafka) == end_offsets(kafka, "new-user"),
        20,
        "offsets are not committed past the markers",
    )
    assert count_states(kafka, "aborted").total() == 0
    until(
        lambda: ask(f"{system.url}/api/sagas?q=committed")[1]["total"] == 12,
        20,
        "the console does not show the committed users",
    )
    assert ask(f"{system.url}/api/sagas?q=aborted")[1]["total"] == 0
    assert console_not_ready(system) is None
    audit = system.saga("audit", "--broker", f"kafka://{kafka}", "--json")
    report = json.loads(audit.stdout)
    findings = [each for each in report["findings"] if str(each["saga"]).startswith(("aborted", "committed"))]
    assert (findings, [line for line in report["left_out"] if "new-user" in line]) == ([], [])
    now(f"aborted: {count_states(kafka, 'aborted').total()} sagas, lag {services(system)['provisioner']['lag']}")


def committed_offsets(bootstrap: str, group: str = "provisioner", topic: str = "new-user") -> dict[int, int]:
    """The committed offset of each partition of a topic; 0 where nothing is committed."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    found = consumer.committed([TopicPartition(topic, p) for p in range(12)], 10)
    consumer.close()
    return {each.partition: max(0, each.offset) for each in found}


@pytest.mark.field(35)
def test_an_open_transaction_is_reported_and_counts_as_no_lag(kafka: str, system: System, now: Now) -> None:
    hanging = produce_transaction(kafka, ["hanging"], "open")
    reason = until(lambda: services(system)["provisioner"]["reason"], 30, "the console did not report the transaction")
    assert "open transaction, from new-user[" in reason
    assert (services(system)["provisioner"]["up"], services(system)["provisioner"]["lag"]) == (True, 0)
    now(reason)
    hanging.commit_transaction(20)
    until(
        lambda: count_states(kafka, "hanging")["completed"] == 1,
        30,
        "the saga did not complete after the commit",
        every_s=0.5,
    )
    until(lambda: services(system)["provisioner"]["reason"] is None, 20, "the console still reports a reason")


@pytest.mark.field(34)
def test_unread_requests_that_retention_deletes_are_reported(kafka: str, system: System, now: Now) -> None:
    """The Notifier is suspended while its unread records are deleted."""
    process = system.child("agents:notifier")
    process.suspend()
    try:
        ids = [f"lost{n}" for n in range(24)]
        send(kafka, "new-user", [(id.encode(), user(id)) for id in ids], partitioner="murmur2_random")
        until(
            lambda: len({r.key for r in read(kafka, "notify") if (r.key or b"").startswith(b"lost")}) == 24,
            60,
            "not all 24 mails were requested",
        )
        admin = AdminClient({"bootstrap.servers": kafka})
        places = [TopicPartition("notify", p, -1) for p in range(12)]
        for future in admin.delete_records(places).values():
            future.result(20)
    finally:
        process.resume()
    by_retention = "deleted by retention before they were read"
    line = until(
        lambda: next((line for line in system.lines if by_retention in line), ""), 60, "the loss was not logged"
    )
    assert "records are lost" in line
    assert "partition=notify[" in line
    now(line[line.index("records are lost") :])
    port = system.settings["notifier_port"]
    wait_until_ready(system)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'saga_records_lost_total{topic="notify"}' in metrics
    onboard(kafka, "kept")


@pytest.mark.field(34)
def test_a_topic_recreated_with_one_partition_makes_services_unready(kafka: str, system: System, now: Now) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics(["retract"])["retract"].result(20)
    until(lambda: recreate(admin, "retract", 1), 20, "retract was not created with one partition", every_s=0.02)
    wrong = "topic retract has 1 partitions"
    for service in ("provisioner", "notifier"):
        until(partial(has_reason, system, service, wrong), 60, f"the {service} does not report the partition count")
    until(lambda: wrong in str(console_not_ready(system)), 30, "the console does not report the partition count")
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 8, 10, "8 s did not pass")
    assert not [line for line in system.lines if "Unclosed" in line], system.output_tail()
    now(str(console_not_ready(system)))
    admin.delete_topics(["retract"])["retract"].result(20)
    wait_until_ready(system)
    until(
        lambda: console_not_ready(system) is None, 60, lambda: f"the console is not ready: {console_not_ready(system)}"
    )
    onboard(kafka, "corrected")


@pytest.mark.field(34)
def test_a_recreated_topic_with_more_records_is_read_from_its_beginning(kafka: str, system: System, now: Now) -> None:
    """The Notifier is suspended until its old positions exist in the new topic, with unread records before them."""
    admin = AdminClient({"bootstrap.servers": kafka})
    ids = [f"again{n}" for n in range(240)]
    onboard(kafka, "held", 60)
    notifier = system.child("agents:notifier")
    notifier.suspend()
    try:
        admin.delete_topics(["notify"])["notify"].result(20)
        until(lambda: recreate(admin, "notify", 12), 20, "notify was not created again", every_s=0.02)
        # For a moment the broker still acknowledges records for the old topic; they are lost with it.
        until(lambda: not any(end_offsets(kafka, "notify").values()), 20, "the new topic is not empty")
        send(kafka, "new-user", [(id.encode(), user(id)) for id in ids], partitioner="murmur2_random")
        until(
            lambda: sum(end_offsets(kafka, "notify").values()) >= len(ids),
            60,
            lambda: f"not all mails were requested: {end_offsets(kafka, 'notify')}; {system.output_tail()}",
        )
    finally:
        notifier.resume()
    until(lambda: count_states(kafka, "again")["completed"] == len(ids), 60, "not all users completed", every_s=0.5)
    until(
        lambda: committed_offsets(kafka, "notifier", "notify") == end_offsets(kafka, "notify"),
        20,
        "not all records are committed",
    )
    until(
        lambda: ask(f"{system.url}/api/sagas?q=again&state=completed")[1]["total"] == len(ids),
        30,
        "the console does not show them",
    )
    now(next(line for line in system.lines if "reading from their beginning" in line).split("[warning  ] ")[-1][:120])


def recreate(admin: AdminClient, topic: str, partitions: int) -> bool:
    """Try to create a topic that was just deleted; return whether it exists with this number of partitions.

    The services create missing topics too. If one was faster, with another number, the topic is deleted again.
    """
    try:
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)
    except KafkaException:
        found = admin.list_topics(timeout=10).topics.get(topic)
        if found is not None and len(found.partitions) != partitions:
            admin.delete_topics([topic])[topic].result(20)
        return found is not None and len(found.partitions) == partitions
    return True


@pytest.mark.field(29)
def test_tables_of_another_cluster_are_set_aside_with_one_log_line(
    own_kafka: RealKafka, start_system: Start, tmp_path: Path, now: Now
) -> None:
    data = tmp_path / "kept"
    data.mkdir()
    broker = f"kafka://{own_kafka.bootstrap}"
    system = start_system("--broker", broker, lag="0", datadir=data)
    onboard(own_kafka.bootstrap, "old")
    system.stop()
    own_kafka.stop()
    own_kafka.clean()
    own_kafka.start()
    ports = {name: system.settings[name] for name in PORTS}  # part of the name of a worker's data directory
    system = start_system("--broker", broker, lag="0", datadir=data, **ports)
    onboard(own_kafka.bootstrap, "new")
    lines = [line for line in system.lines if "tables set aside" in line]
    assert len(lines) == len(SERVICES), system.output_tail()
    assert not [line for line in system.lines if "ConsistencyError" in line]
    assert ask(f"http://127.0.0.1:{system.settings['provisioner_port']}/sagas/old1")[0] == 404
    now(lines[0].split("reason", 1)[-1][:160])
