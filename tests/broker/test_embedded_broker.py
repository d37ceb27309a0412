"""The embedded broker: its life cycle, delivery through `Sender`, and the estimate of its free capacity."""

import asyncio
import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from devtools.wait import free_port, until
from saga_app.local.broker import Broker, BrokerFailed
from saga_app.stream import Message, NotAcknowledged, Sender, partition_of
from saga_app.stream.capacity import REFUSE_AT, Capacity, record_size
from tests.kafka.stream.relay_harness import PARTITIONS, key_of, relay_harness

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(topics={"orders": PARTITIONS, "one": 1}) as running:
        yield running


def has_ended(pid: int) -> bool:
    """Whether the process does not run: it does not exist, or is a zombie."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_serves_topics_and_its_process_ends_when_closed() -> None:
    with Broker(topics={"orders": 3}) as broker:
        topics = Producer({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=5).topics
        assert len(topics["orders"].partitions) == 3
        alive = broker.alive
    assert alive
    assert not psutil.pid_exists(broker.pid)
    assert not broker.alive
    broker.close()


def test_it_listens_on_the_given_port() -> None:
    port = free_port()
    with Broker(port=port, topics={"orders": 1}) as broker:
        assert broker.bootstrap == f"127.0.0.1:{port}"
        Producer({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=5)


def test_a_taken_port_raises_one_line_and_leaves_no_process() -> None:
    children = psutil.Process().children()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerFailed) as raised:
            Broker(port=port)
    assert str(raised.value) == (
        f"the embedded broker did not start: port {port} on 127.0.0.1 is in use by another program"
    )
    assert psutil.Process().children() == children


def test_it_starts_while_a_client_asks_for_one_of_its_topics() -> None:
    """The mock cluster creates a topic, with 4 partitions, when a client asks for its metadata."""
    port, stop = free_port(), threading.Event()
    client = threading.Thread(target=ask_for_topic, args=("orders", port, stop))
    client.start()
    try:
        with Broker(port=port, topics={"users": 1, "orders": 3}) as broker:
            topics = Producer({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=5).topics
            assert len(topics["orders"].partitions) == 3
    finally:
        stop.set()
        client.join()


def ask_for_topic(topic: str, port: int, stop: threading.Event) -> None:
    """Send metadata requests (version 1) for a topic until `stop`, like a client whose broker has gone."""
    name = topic.encode()
    body = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">ih", 1, len(name)) + name
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
                connection.sendall(struct.pack(">i", len(body)) + body)
                connection.settimeout(0.5)
                connection.recv(4096)
        except OSError:
            stop.wait(0.0005)


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_it_ends_with_its_parent_process(signal: str) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                f"""
                import os, signal
                from saga_app.local.broker import Broker
                print(Broker(topics={{"orders": 1}}).pid, flush=True)
                os.kill(os.getpid(), signal.{signal})
                """
            ),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, _ = parent.communicate(timeout=15)
    until(lambda: has_ended(int(pid)), 5, "the broker did not end")


async def test_a_sender_gets_ten_thousand_records_acknowledged_at_once(broker: Broker) -> None:
    keys = [b"user-%d" % n for n in range(10_000)]
    async with Sender(broker.bootstrap) as sender:
        began = time.monotonic()
        await sender.send_all([Message("orders", key, b"v", [("ce_id", key)]) for key in keys])
        assert time.monotonic() - began < 5
        await sender.send("orders", b"last", None)
    read = {m.key(): (m.partition(), m.headers()) for m in messages(broker, "orders")}
    assert read.keys() == {*keys, b"last"}
    assert all(read[key][0] == partition_of(key, PARTITIONS) for key in keys), "not partitioned by murmur2"
    assert all(read[key][1] == [("ce_id", key)] for key in keys)


async def test_the_first_record_of_a_sender_is_not_delayed_by_librdkafka(broker: Broker) -> None:
    """librdkafka queries unknown leaders every 0.5 s; a median below that shows that `Sender` does not wait."""
    took: list[float] = []
    for _ in range(5):
        async with Sender(broker.bootstrap) as sender:
            began = time.monotonic()
            await sender.send("orders", b"k", b"v")
            took.append(time.monotonic() - began)
    assert median(took) < 0.4, took


async def test_a_sender_raises_during_an_outage_and_recovers_after_it() -> None:
    port = free_port()
    async with Sender(f"127.0.0.1:{port}", timeout_s=3.0) as sender:
        with Broker(port=port, topics={"orders": 1}):
            await sender.send("orders", b"k", b"v")
        with pytest.raises(NotAcknowledged):
            await sender.send("orders", b"k", b"v")
        with Broker(port=port, topics={"orders": 1}):
            async with asyncio.timeout(20):
                while not await is_acknowledged(sender):
                    pass


async def is_acknowledged(sender: Sender) -> bool:
    """Whether a record is acknowledged."""
    try:
        await sender.send("orders", b"k", b"v")
    except NotAcknowledged:
        return False
    return True


def messages(broker: Broker, topic: str) -> list[Any]:
    """All messages of a topic; fewer if they do not arrive within 15 s."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader"})
    try:
        places = [TopicPartition(topic, p, 0) for p in range(PARTITIONS)]
        expected = sum(consumer.get_watermark_offsets(place, timeout=5)[1] for place in places)
        consumer.assign(places)
        found: list[Any] = []
        deadline = time.monotonic() + 15
        while len(found) < expected and time.monotonic() < deadline:
            found += consumer.consume(expected - len(found), timeout=0.2)
        return found
    finally:
        consumer.close()


@pytest.mark.parametrize(
    ("value_bytes", "headers", "batch", "settings"),
    [
        (1000, [], 20, {}),
        (1000, [("ce_id", b"y" * 40), ("traceparent", b"z" * 55)], 20, {}),
        (100, [], 500, {}),
        (20, [], 1000, {"batch.num.messages": 1, "linger.ms": 0}),
    ],
)
def test_the_estimate_reaches_full_before_the_broker_drops_a_record(
    broker: Broker, value_bytes: int, headers: list[tuple[str, bytes]], batch: int, settings: dict[str, Any]
) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5, **settings})
    watcher = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "watcher"})
    key, value, capacity = b"k" * 36, b"x" * value_bytes, Capacity()
    refused_at = 0
    while watcher.get_watermark_offsets(TopicPartition("one", 0), timeout=5)[0] == 0:
        assert capacity.fill < 2, "no record was dropped: the limit of the mock cluster has changed"
        for _ in range(batch):
            producer.produce("one", value, key, 0, headers=[*headers])
            capacity.count("one", 0, record_size(key, value, headers))
        producer.flush(10)
        refused_at = refused_at or (
            capacity.fill >= REFUSE_AT and watcher.get_watermark_offsets(TopicPartition("one", 0), timeout=5)[1]
        )
    watcher.close()
    assert capacity.fill >= 1
    assert refused_at, "new sagas are not refused before the first record is dropped"
    assert capacity.fullest == ("one", 0)


def test_the_estimate_tells_whether_a_load_would_fit() -> None:
    capacity = Capacity()
    assert capacity.fill == 0
    assert capacity.fullest is None
    assert capacity.fill_with(records=1000, size=2000, partitions=12) < REFUSE_AT
    assert capacity.fill_with(records=100_000, size=2000, partitions=12) > REFUSE_AT


def test_two_workers_relay_every_record_and_share_the_partitions(tmp_path: Path) -> None:
    topics = {f"relay-{kind}": PARTITIONS for kind in ("in", "out", "rows-changelog")}
    with (
        Broker(topics=topics) as broker,
        relay_harness(broker.bootstrap, "relay", tmp_path, create_topics=False) as relay,
    ):
        first, second = (relay.start_worker(label, embedded=1).ready() for label in ("first", "second"))
        sent = {(key_of(n % 500), n) for n in range(10_000)}
        relay.send((key, {"n": n}) for key, n in sorted(sent, key=lambda record: record[1]))
        relay.wait_until_committed()
        relay.assert_nothing_missing(sent)
        assert relay.partitions_of(first) | relay.partitions_of(second) == set(range(PARTITIONS))
        assert relay.partitions_of(first)
        assert relay.partitions_of(second)
        assert max(first.stop(), second.stop()) < 8
