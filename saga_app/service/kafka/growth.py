"""Adds partitions to all topics, and copies the rows of ended sagas to the partitions where their ids belong then.

The operation can be repeated after a failure: changelogs grow first and rows are copied while the request topics still
have the old number of partitions, so that the services could continue with it. Only when all copies are acknowledged do
the other topics grow. The old copies remain, but are not read any more.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from time import monotonic, sleep
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from saga_app.active_plan import EFFECTS_CHANGELOGS, READS, ROWS_CHANGELOG, SERVICES
from saga_app.saga.codec import BadMessage, decode
from saga_app.saga.messages import Row
from saga_app.service.kafka.topics import TOPICS
from saga_app.stream import partition_of

#: The topics that hold rows.
CHANGELOGS = (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values())

#: Timeout for one response of the broker, and for the election of leaders of new partitions (seconds).
BROKER_TIMEOUT_S = 15.0

Rows = Mapping[tuple[int, bytes], bytes]


class CannotGrow(Exception):
    """The topics cannot grow at the moment; the text says why and what to do, in one line."""


class Move(NamedTuple):
    """A row and the partition to which it has to be copied."""

    key: bytes
    value: bytes
    partition: int


def moves(rows: Rows, before: int, after: int) -> Iterator[Move]:
    """The rows that have to be copied when the number of partitions changes from `before` to `after`.

    `rows`: the latest row of each partition and key. A row on a wrong partition is an old copy, and is ignored.
    """
    for (partition, key), value in rows.items():
        new = partition_of(key, after)
        if partition == partition_of(key, before) and new != partition:
            yield Move(key, value, new)


def open_sagas(rows: Rows) -> list[str]:
    """The ids of sagas that have not ended."""
    found = []
    for (_, key), value in rows.items():
        try:
            ended = decode(Row, value).ended
        except BadMessage:
            ended = False
        if not ended:
            found.append(key.decode(errors="replace"))
    return found


def grow(bootstrap: str, partitions: int) -> int:
    """Grow every topic to `partitions`. Returns the number of copied rows. Raises `CannotGrow`."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        before = _counts(admin, bootstrap)
        _check_counts(before, partitions)
        _check_stopped(admin)
        _check_handled(bootstrap, before)
        rows = {topic: _rows(bootstrap, topic, before[topic]) for topic in CHANGELOGS}
        _check_ended(rows[ROWS_CHANGELOG])
        used = min(before.values())
        _create(admin, {topic: before[topic] for topic in CHANGELOGS}, partitions)
        moved = sum(_copy(bootstrap, topic, list(moves(rows[topic], used, partitions))) for topic in CHANGELOGS)
        _create(admin, {topic: count for topic, count in before.items() if topic not in CHANGELOGS}, partitions)
    except KafkaException as error:
        raise CannotGrow(f"the broker at {bootstrap} refuses the request: {error.args[0].str()}") from None
    return moved


def _counts(admin: AdminClient, bootstrap: str) -> dict[str, int]:
    try:
        found = admin.list_topics(timeout=BROKER_TIMEOUT_S).topics
    except KafkaException:
        raise CannotGrow(f"no broker answers at {bootstrap}: start it, or pass another with --broker") from None
    if missing := [topic for topic in TOPICS if topic not in found]:
        raise CannotGrow(f"topics are missing: {', '.join(missing)}: start the services once to create them")
    return {topic: len(found[topic].partitions) for topic in TOPICS}


def _check_counts(counts: Mapping[str, int], partitions: int) -> None:
    if min(counts.values()) == partitions:
        raise CannotGrow(f"every topic has {partitions} partitions already, or more")
    most = max(counts, key=counts.__getitem__)
    if counts[most] > partitions:
        raise CannotGrow(f"topic {most} has {counts[most]} partitions, which cannot be reduced: grow to that many")


def _check_stopped(admin: AdminClient) -> None:
    for group, asked in admin.describe_consumer_groups(list(SERVICES)).items():
        if members := asked.result(BROKER_TIMEOUT_S).members:
            raise CannotGrow(
                f"{len(members)} workers of {group} are running: stop all services first (Kafka forgets them after 10 s)"
            )


def _check_handled(bootstrap: str, counts: Mapping[str, int]) -> None:
    """Raises `CannotGrow` if a consumer group has not committed all records of its topics."""
    waiting: Counter[str] = Counter()
    for group, topics in READS.items():
        places = [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]
        with _Reading(bootstrap, group) as consumer:
            committed = consumer.committed(places, timeout=BROKER_TIMEOUT_S)
            waiting.update(message.topic() for message in _records(consumer, committed))
    if waiting:
        shown = ", ".join(f"{count} of {topic}" for topic, count in waiting.items())
        raise CannotGrow(f"records have not been processed yet ({shown}): start the services, and wait until they are")


def _check_ended(rows: Rows) -> None:
    if unfinished := sorted(set(open_sagas(rows))):
        shown = ", ".join(unfinished[:3]) + (", …" if len(unfinished) > 3 else "")
        raise CannotGrow(
            f"{len(unfinished)} sagas are open ({shown}): start the services and wait for them; redrive or roll back "
            "those that are parked (saga errors)"
        )


class _Reading:
    """A consumer that neither joins its group nor commits."""

    def __init__(self, bootstrap: str, group: str = "growth") -> None:
        named = {"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0}
        self._consumer = Consumer({**named, "enable.auto.commit": False, "enable.partition.eof": True})

    def __enter__(self) -> Any:
        return self._consumer

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def _rows(bootstrap: str, topic: str, count: int) -> Rows:
    """The latest row of each partition and key."""
    rows: dict[tuple[int, bytes], bytes] = {}
    with _Reading(bootstrap) as consumer:
        for message in _records(consumer, [TopicPartition(topic, number) for number in range(count)]):
            place = message.partition(), message.key()
            if message.value() is None:
                rows.pop(place, None)
            else:
                rows[place] = message.value()
    return rows


def _records(consumer: Any, places: list[Any]) -> Iterator[Any]:
    """The committed records from these offsets, or from the first one without an offset, to the end.

    Raises `CannotGrow` if the broker stops answering.
    """
    consumer.assign([TopicPartition(each.topic, each.partition, _start(each.offset)) for each in places])
    left = {(each.topic, each.partition) for each in places}
    while left:
        message = consumer.poll(BROKER_TIMEOUT_S)
        if message is None:
            raise CannotGrow(f"the topics cannot be read: the broker has not answered for {BROKER_TIMEOUT_S:g} s")
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard((message.topic(), message.partition()))
        else:
            raise KafkaException(error)


def _start(offset: int) -> int:
    return offset if offset >= 0 else OFFSET_BEGINNING


def _create(admin: AdminClient, counts: Mapping[str, int], partitions: int) -> None:
    """Add the missing partitions, and wait until all partitions have leaders."""
    wanted = [NewPartitions(topic, partitions) for topic, count in counts.items() if count < partitions]
    for asked in admin.create_partitions(wanted).values() if wanted else ():
        asked.result(BROKER_TIMEOUT_S)
    deadline = monotonic() + BROKER_TIMEOUT_S
    while not _have_leaders(admin, counts, partitions):
        if monotonic() > deadline:
            raise CannotGrow(
                f"new partitions have no leader after {BROKER_TIMEOUT_S:g} s: check the brokers, then repeat the command"
            )
        sleep(0.1)


def _have_leaders(admin: AdminClient, counts: Mapping[str, int], partitions: int) -> bool:
    found = admin.list_topics(timeout=BROKER_TIMEOUT_S).topics
    held = [found[topic].partitions for topic in counts]
    return all(len(each) >= partitions and all(p.leader >= 0 for p in each.values()) for each in held)


def _copy(bootstrap: str, topic: str, moving: list[Move]) -> int:
    """Copy rows to their new partitions and wait for the acknowledgements. Returns how many."""
    failed: list[Any] = []

    def report(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    settings = {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "log_level": 0}
    producer = Producer({**settings, "message.max.bytes": 8 * 1024 * 1024})
    for key, value, partition in moving:
        while True:
            try:
                producer.produce(topic, value, key, partition, on_delivery=report)
                break
            except BufferError:
                producer.poll(0.5)
    left = producer.flush(60)
    if left or failed:
        reason = failed[0].str() if failed else "no acknowledgement in 60 s"
        raise CannotGrow(f"{left + len(failed)} rows of {topic} were not copied ({reason}): repeat the command")
    return len(moving)
