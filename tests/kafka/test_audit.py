"""`saga audit` on a real Kafka, without and with inconsistencies."""

import json
from collections.abc import Callable
from saga_app.saga.codec import replace_fields

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from devtools.real_kafka import RealKafka
from devtools.system import System, saga
from devtools.wait import until
from saga_app.saga.codec import decode, encode
from saga_app.saga.messages import Message
from tests.kafka.kafka_system import count_ended
from tests.topics import read, send

Start = Callable[..., System]
USER_COUNT = 30


def audit(broker: RealKafka, *options: str) -> tuple[int, str]:
    """Run `saga audit`; return its exit code and output."""
    done = saga("audit", "--broker", f"kafka://{broker.bootstrap}", *options)
    return done.returncode, done.stdout + done.stderr


def test_the_audit_finds_nothing_until_a_forged_message_is_written(own_kafka: RealKafka, start_system: Start) -> None:
    code, output = audit(own_kafka)
    assert (code, len(output.splitlines())) == (1, 1)
    assert "topics are missing" in output

    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0", deny_rate=0.1, partitions=3)
    system.saga("new", "--count", str(USER_COUNT))
    send(own_kafka.bootstrap, "authorize", [(b"garbage", b"hello")])
    until(lambda: count_ended(own_kafka.bootstrap) == USER_COUNT, 20, f"not all {USER_COUNT} sagas ended", every_s=0.3)
    until(lambda: audit(own_kafka)[0] == 0, 10, "not all records are committed", every_s=0.5)
    system.stop()
    code, output = audit(own_kafka, "--json")
    report = json.loads(output)
    assert (code, report["findings"], report["left_out"], report["sagas"]) == (0, [], [], USER_COUNT)
    assert report["counts"]["dead_letters"] == 1

    forged = forge_device(own_kafka)
    code, output = audit(own_kafka)
    assert code == 1
    assert "several devices: 1\n" in output
    assert any(forged in line and "LT-FORGED" in line for line in output.splitlines())
    assert f"1 inconsistency: {USER_COUNT} sagas" in output


def test_records_deleted_by_retention_are_reported_as_not_checked(own_kafka: RealKafka, start_system: Start) -> None:
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0", partitions=1)
    system.saga("new", "--count", "3")
    until(lambda: count_ended(own_kafka.bootstrap) == 3, 20, "not all 3 sagas ended", every_s=0.3)
    system.stop()
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap})
    [deleted] = admin.delete_records([TopicPartition("new-user", 0, 2)]).values()
    deleted.result(10)
    code, output = audit(own_kafka)
    assert (code, output.count("not checked: new-user: records until")) == (0, 1), output
    assert "no inconsistencies: 3 sagas" in output


def forge_device(broker: RealKafka) -> str:
    """Send a message of a saga again with another device id; return the id of the saga."""
    record = next(read(broker.bootstrap, "notify"))
    message = decode(Message, record.value)
    forged = replace_fields(message, facts=message.facts | {"device_id": "LT-FORGED"})
    send(broker.bootstrap, "notify", [(record.key, encode(forged))], partitioner="murmur2_random")
    return message.id
