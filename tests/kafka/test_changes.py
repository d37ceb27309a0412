"""Another cluster, recreated topics, retention and transactions under a running system: on a real Kafka."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from saga_app.saga.messages import DLQ
from saga_app.stream import partition_of
from tests.kafka.test_saga import SERVICES, ask, running, states
from devtools.real_kafka import RealKafka
from devtools.system import PORTS, System
from tests.topics import ends, read, send, user
from devtools.wait import until

Now = Callable[[str], None]
Start = Callable[..., System]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def kafka(kafka_of_module: str) -> str:
    """Not the shared broker: these tests delete its topics."""
    return kafka_of_module


@pytest.fixture(scope="module")
def system(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A worker of each service."""
    yield from running(tmp_path_factory.mktemp("changes"), kafka, lag="0")


def ready(system: System, service: str) -> tuple[int, Any]:
    """Whether a service is ready, and why not; 0 while it is being started again."""
    try:
        return ask(f"http://127.0.0.1:{system.settings[f'{service}_port']}/health/ready")
    except urllib.error.URLError as error:
        return 0, {"reason": str(error)}


def not_ready(system: System) -> str | None:
    """Why the console is not, if it is not."""
    reason: str | None = ask(f"{system.url}/api/stats")[1]["not_ready"]
    return reason


def onboard(bootstrap: str, prefix: str, count: int = 20) -> None:
    """So many new users, until they have completed."""
    ids = [f"{prefix}{n}" for n in range(count)]
    send(bootstrap, "new-user", [(id.encode(), user(id)) for id in ids], partitioner="murmur2_random")
    until(lambda: states(bootstrap, prefix)["completed"] == count, 90, f"{count} of {prefix} completed", every_s=0.5)


def all_ready(system: System) -> None:
    """Every service is, sooner or later."""
    until(lambda: all(ready(system, service)[0] == 200 for service in SERVICES), 90, "every service is ready")


@pytest.mark.field(34)
def test_a_deleted_topic_is_named_and_created_again_and_the_services_go_on(
    kafka: str, system: System, now: Now
) -> None:
    onboard(kafka, "before")
    held = [f"{topic}[{p}]" for topic in ("notify", "new-user") for p, end in ends(kafka, topic).items() if end]
    admin = AdminClient({"bootstrap.servers": kafka})
    for topic in ("notify", "new-user", DLQ):
        admin.delete_topics([topic])[topic].result(20)

    def reason() -> str:
        found = [str(ready(system, service)[1].get("reason")) for service in (*SERVICES, "console")]
        return next((each for each in found if "they were deleted while the service was running" in each), "")

    now(until(reason, 30, "it is named", every_s=0.02))
    all_ready(system)

    def missing() -> list[str]:
        losses = [line for line in system.lines if "records are lost" in line]
        return [place for place in held if not any(f"partition={place}" in line for line in losses)]

    until(lambda: not missing(), 60, lambda: f"every loss is reported: {missing()} are not; {system.said()}")
    onboard(kafka, "after")


def produce(bootstrap: str, ids: list[str], end: str) -> Producer:
    """New users in one transaction, which ends so: commit, abort, or not at all."""
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
    """How the console shows them."""
    return dict(ask(f"{system.url}/api/stats")[1]["services"])


@pytest.mark.field(35)
def test_an_aborted_transaction_onboards_nobody_and_its_markers_are_no_lag(
    kafka: str, system: System, now: Now
) -> None:
    produce(kafka, [f"aborted{n}" for n in range(12)], "abort")
    produce(kafka, [f"committed{n}" for n in range(12)], "commit")
    produce(kafka, [f"aborted{n}" for n in range(12, 24)], "abort")
    until(lambda: states(kafka, "committed")["completed"] == 12, 60, "the committed ones completed", every_s=0.5)
    until(lambda: all(each["lag"] == 0 for each in services(system).values()), 30, lambda: f"no lag: {services(system)}")
    until(lambda: committed(kafka) == ends(kafka, "new-user"), 20, "committed past the markers")
    assert states(kafka, "aborted").total() == 0
    until(lambda: ask(f"{system.url}/api/sagas?q=committed")[1]["total"] == 12, 20, "the console shows the committed")
    assert ask(f"{system.url}/api/sagas?q=aborted")[1]["total"] == 0
    assert not_ready(system) is None
    audit = system.saga("audit", "--broker", f"kafka://{kafka}", "--json")
    report = json.loads(audit.stdout)
    mine = [each for each in report["findings"] if str(each["saga"]).startswith(("aborted", "committed"))]
    assert (mine, [line for line in report["left_out"] if "new-user" in line]) == ([], [])
    now(f"aborted: {states(kafka, 'aborted').total()} sagas, lag {services(system)['provisioner']['lag']}")


def committed(bootstrap: str, group: str = "provisioner", topic: str = "new-user") -> dict[int, int]:
    """Where a service goes on in a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    found = consumer.committed([TopicPartition(topic, p) for p in range(12)], 10)
    consumer.close()
    return {each.partition: max(0, each.offset) for each in found}


@pytest.mark.field(35)
def test_a_transaction_that_is_left_open_is_named_and_is_no_lag(kafka: str, system: System, now: Now) -> None:
    hanging = produce(kafka, ["hanging"], "open")
    reason = until(lambda: services(system)["provisioner"]["reason"], 30, "it is named")
    assert "open transaction, from new-user[" in reason
    assert (services(system)["provisioner"]["up"], services(system)["provisioner"]["lag"]) == (True, 0)
    now(reason)
    hanging.commit_transaction(20)
    until(lambda: states(kafka, "hanging")["completed"] == 1, 30, "it completes once it is committed", every_s=0.5)
    until(lambda: services(system)["provisioner"]["reason"] is None, 20, "nothing to report")


@pytest.mark.field(34)
def test_unread_requests_that_retention_deletes_are_named(kafka: str, system: System, now: Now) -> None:
    """The Notifier is frozen while records are deleted that it has not read."""
    process = system.child("agents:notifier")
    process.suspend()
    try:
        ids = [f"lost{n}" for n in range(24)]
        send(kafka, "new-user", [(id.encode(), user(id)) for id in ids], partitioner="murmur2_random")
        until(lambda: len({r.key for r in read(kafka, "notify") if (r.key or b"").startswith(b"lost")}) == 24, 60, "asked")
        admin = AdminClient({"bootstrap.servers": kafka})
        places = [TopicPartition("notify", p, -1) for p in range(12)]
        for done in admin.delete_records(places).values():
            done.result(20)
    finally:
        process.resume()
    by_retention = "deleted by retention before they were read"
    line = until(lambda: next((line for line in system.lines if by_retention in line), ""), 60, "named")
    assert "records are lost" in line
    assert "partition=notify[" in line
    now(line[line.index("records are lost") :])
    port = system.settings["notifier_port"]
    all_ready(system)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'saga_records_lost_total{topic="notify"}' in metrics
    onboard(kafka, "kept")


@pytest.mark.field(34)
def test_a_topic_that_comes_back_with_one_partition_is_waited_for(kafka: str, system: System, now: Now) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics(["retract"])["retract"].result(20)
    until(lambda: created(admin, "retract", 1), 20, "created with one partition", every_s=0.02)
    wrong = "topic retract has 1 partitions"
    until(lambda: wrong in str(ready(system, "provisioner")[1].get("reason")), 60, "the services are not ready")
    until(lambda: wrong in str(ready(system, "notifier")[1].get("reason")), 60, "nor is the one that reads it")
    until(lambda: wrong in str(not_ready(system)), 30, "nor is the console")
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 8, 10, "a while")
    assert not [line for line in system.lines if "Unclosed" in line], system.said()
    now(str(not_ready(system)))
    admin.delete_topics(["retract"])["retract"].result(20)
    all_ready(system)
    until(lambda: not_ready(system) is None, 60, lambda: f"the console has recovered: {not_ready(system)}")
    onboard(kafka, "corrected")


@pytest.mark.field(34)
def test_a_topic_that_holds_more_than_before_when_it_is_noticed_is_read_from_its_beginning(
    kafka: str, system: System, now: Now
) -> None:
    """The Notifier is frozen meanwhile: its positions are there in the new topic, with other records below them."""
    admin = AdminClient({"bootstrap.servers": kafka})
    ids = [f"again{n}" for n in range(240)]
    onboard(kafka, "held", 60)
    notifier = system.child("agents:notifier")
    notifier.suspend()
    try:
        admin.delete_topics(["notify"])["notify"].result(20)
        until(lambda: created(admin, "notify", 12), 20, "created again", every_s=0.02)
        # The broker still acknowledges records for the old one for a moment: they are lost with it.
        until(lambda: not any(ends(kafka, "notify").values()), 20, "the new one takes records")
        send(kafka, "new-user", [(id.encode(), user(id)) for id in ids], partitioner="murmur2_random")
        until(
            lambda: sum(ends(kafka, "notify").values()) >= len(ids),
            60,
            lambda: f"asked for mails: {states(kafka, 'again')}, {ends(kafka, 'notify')}; {system.said()}",
        )
    finally:
        notifier.resume()
    until(lambda: states(kafka, "again")["completed"] == len(ids), 60, "all completed", every_s=0.5)
    until(lambda: committed(kafka, "notifier", "notify") == ends(kafka, "notify"), 20, "all is committed")
    until(lambda: ask(f"{system.url}/api/sagas?q=again&state=completed")[1]["total"] == len(ids), 30, "the console, too")
    now(next(line for line in system.lines if "reading from their beginning" in line).split("[warning  ] ")[-1][:120])


def created(admin: AdminClient, topic: str, partitions: int) -> bool:
    """Whether a topic that was just deleted could be created again; another client may have been quicker."""
    try:
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)
    except KafkaException:
        found = admin.list_topics(timeout=10).topics.get(topic)
        if found is not None and len(found.partitions) != partitions:
            admin.delete_topics([topic])[topic].result(20)
        return found is not None and len(found.partitions) == partitions
    return True


@pytest.mark.field(29)
def test_tables_of_another_cluster_are_set_aside_in_one_line(
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
    ports = {name: system.settings[name] for name in PORTS}  # they are part of the name of a worker's directory
    system = start_system("--broker", broker, lag="0", datadir=data, **ports)
    onboard(own_kafka.bootstrap, "new")
    lines = [line for line in system.lines if "tables set aside" in line]
    assert len(lines) == len(SERVICES), system.said()
    assert not [line for line in system.lines if "ConsistencyError" in line]
    assert ask(f"http://127.0.0.1:{system.settings['provisioner_port']}/sagas/old1")[0] == 404
    now(lines[0].split("reason", 1)[-1][:160])
