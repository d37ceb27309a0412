"""`saga audit` on a real Kafka: a history that adds up, and then one that does not."""

import json
from collections.abc import Callable
from dataclasses import replace

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from saga_app.saga.messages import Message, decode, encode
from devtools.real_kafka import RealKafka
from devtools.system import System, saga
from tests.topics import read, rows, send
from devtools.wait import until

Start = Callable[..., System]
USERS = 30


def audit(broker: RealKafka, *options: str) -> tuple[int, str]:
    """Exit code, and what is said."""
    done = saga("audit", "--broker", f"kafka://{broker.bootstrap}", *options)
    return done.returncode, done.stdout + done.stderr


def test_a_run_of_the_system_adds_up_until_somebody_writes_into_its_topics(
    own_kafka: RealKafka, start_system: Start
) -> None:
    code, said = audit(own_kafka)
    assert (code, len(said.splitlines())) == (1, 1)
    assert "topics are missing" in said

    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0", deny_rate=0.1, partitions=3)
    system.saga("new", "--count", str(USERS))
    send(own_kafka.bootstrap, "authorize", [(b"garbage", b"hello")])
    until(lambda: ended(own_kafka) == USERS, 20, f"{USERS} sagas have ended", every_s=0.3)
    until(lambda: audit(own_kafka)[0] == 0, 10, "all is committed, the garbage in the dlq as well", every_s=0.5)
    system.stop()
    code, said = audit(own_kafka, "--json")
    report = json.loads(said)
    assert (code, report["findings"], report["left_out"], report["sagas"]) == (0, [], [], USERS)
    assert report["counts"]["dead_letters"] == 1

    forged = another_device(own_kafka)
    code, said = audit(own_kafka)
    assert code == 1
    assert "several devices: 1\n" in said
    assert any(forged in line and "LT-FORGED" in line for line in said.splitlines())
    assert f"1 inconsistency: {USERS} sagas" in said


def test_what_retention_has_deleted_is_said_and_not_missed(own_kafka: RealKafka, start_system: Start) -> None:
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0", partitions=1)
    system.saga("new", "--count", "3")
    until(lambda: ended(own_kafka) == 3, 20, "3 sagas have ended", every_s=0.3)
    system.stop()
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap})
    [deleted] = admin.delete_records([TopicPartition("new-user", 0, 2)]).values()
    deleted.result(10)
    code, said = audit(own_kafka)
    assert (code, said.count("not checked: new-user: records until")) == (0, 1), said
    assert "no inconsistencies: 3 sagas" in said


def ended(broker: RealKafka) -> int:
    """How many sagas have."""
    return sum(versions[-1].ended for versions in rows(broker.bootstrap).values())


def another_device(broker: RealKafka) -> str:
    """Somebody writes a message of a saga once more, with a device that is not its own; the saga's id."""
    record = next(record for record in read(broker.bootstrap, "notify"))
    message = decode(Message, record.value)
    forged = replace(message, facts=message.facts | {"device_id": "LT-FORGED"})
    send(broker.bootstrap, "notify", [(record.key, encode(forged))], partitioner="murmur2_random")
    return message.id
