"""The embedded broker: starts with one line, dies with its parent, and is never overfilled in silence."""

import asyncio
import os
import socket
import subprocess
import sys
import textwrap
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
from saga_app.stream.capacity import REFUSE_AT, Capacity, record_size, truncated_partitions
from tests.kafka.stream.relay_harness import PARTITIONS, key_of, lane

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(topics={"orders": PARTITIONS, "one": 1}) as made:
        yield made


def ended(pid: int) -> bool:
    """Gone, or waiting for init to collect it."""
    return gone(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def gone(pid: int) -> bool:
    """Ended, and no zombie either."""
    return not psutil.pid_exists(pid)


def test_it_serves_and_is_gone_when_closed() -> None:
    with Broker(topics={"orders": 3}) as broker:
        found = Producer({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=5).topics
        assert len(found["orders"].partitions) == 3
        assert broker.alive
    assert gone(broker.pid)
    assert not broker.alive
    broker.close()


def test_it_listens_where_it_was_told() -> None:
    port = free_port()
    with Broker(port=port, topics={"orders": 1}) as broker:
        assert broker.bootstrap == f"127.0.0.1:{port}"
        Producer({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=5)


def test_a_taken_port_is_one_clear_line_and_leaves_nothing_behind() -> None:
    children = psutil.Process().children()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerFailed) as told:
            Broker(port=port)
    assert str(told.value) == (
        f"the embedded broker did not start: port {port} on 127.0.0.1 is in use by another program"
    )
    assert psutil.Process().children() == children


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_it_dies_with_its_parent(signal: str) -> None:
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
    told, _ = parent.communicate(timeout=15)
    until(lambda: ended(int(told)), 5, "it has ended")


async def test_a_sender_is_acknowledged_ten_thousand_at_once(broker: Broker) -> None:
    keys = [b"user-%d" % n for n in range(10_000)]
    async with Sender(broker.bootstrap) as sender:
        began = time.monotonic()
        await sender.send_all([Message("orders", key, b"v", [("ce_id", key)]) for key in keys])
        assert time.monotonic() - began < 5
        await sender.send("orders", b"last", None)
    read = {m.key(): (m.partition(), m.headers()) for m in messages(broker, "orders")}
    assert read.keys() == {*keys, b"last"}
    assert all(read[key][0] == partition_of(key, PARTITIONS) for key in keys), "where murmur2 puts it"
    assert all(read[key][1] == [("ce_id", key)] for key in keys)


async def test_the_first_message_of_a_client_does_not_wait_for_librdkafkas_next_look(broker: Broker) -> None:
    """Which comes every half second: the median of five shows that it is not waited for."""
    took: list[float] = []
    for _ in range(5):
        async with Sender(broker.bootstrap) as sender:
            began = time.monotonic()
            await sender.send("orders", b"k", b"v")
            took.append(time.monotonic() - began)
    assert median(took) < 0.4, took


async def test_a_sender_says_that_the_broker_is_away_and_works_again_when_it_is_back() -> None:
    port = free_port()
    async with Sender(f"127.0.0.1:{port}", timeout_s=3.0) as sender:
        with Broker(port=port, topics={"orders": 1}):
            await sender.send("orders", b"k", b"v")
        with pytest.raises(NotAcknowledged):
            await sender.send("orders", b"k", b"v")
        with Broker(port=port, topics={"orders": 1}):
            async with asyncio.timeout(20):
                while not await acknowledged(sender):
                    pass


async def acknowledged(sender: Sender) -> bool:
    try:
        await sender.send("orders", b"k", b"v")
    except NotAcknowledged:
        return False
    return True


def messages(broker: Broker, topic: str) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader"})
    try:
        places = [TopicPartition(topic, p, 0) for p in range(PARTITIONS)]
        wanted = sum(consumer.get_watermark_offsets(place, timeout=5)[1] for place in places)
        consumer.assign(places)
        found: list[Any] = []
        deadline = time.monotonic() + 15
        while len(found) < wanted and time.monotonic() < deadline:
            found += consumer.consume(wanted - len(found), timeout=0.2)
        return found
    finally:
        consumer.close()


@pytest.mark.parametrize(
    ("value_bytes", "headers", "portion", "settings"),
    [
        (1000, [], 20, {}),
        (1000, [("ce_id", b"y" * 40), ("traceparent", b"z" * 55)], 20, {}),
        (100, [], 500, {}),
        (20, [], 1000, {"batch.num.messages": 1, "linger.ms": 0}),
    ],
)
def test_before_it_drops_the_first_record_it_is_counted_as_full(
    broker: Broker, value_bytes: int, headers: list[tuple[str, bytes]], portion: int, settings: dict[str, Any]
) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5, **settings})
    watcher = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "watcher"})
    key, value, capacity = b"k" * 36, b"x" * value_bytes, Capacity()
    refused_at = 0
    while not truncated_partitions({"one": watcher.get_watermark_offsets(TopicPartition("one", 0), timeout=5)[0]}):
        assert capacity.fill < 2, "nothing was dropped: does the mock hold more than it used to?"
        for _ in range(portion):
            producer.produce("one", value, key, 0, headers=headers)
            capacity.count("one", 0, record_size(key, value, headers))
        producer.flush(10)
        refused_at = refused_at or (
            capacity.fill >= REFUSE_AT and watcher.get_watermark_offsets(TopicPartition("one", 0), timeout=5)[1]
        )
    watcher.close()
    assert capacity.fill >= 1
    assert refused_at, "it is refused before that"
    assert capacity.fullest == ("one", 0)


def test_a_load_that_would_not_fit_is_seen_before_it_is_taken() -> None:
    capacity = Capacity()
    assert capacity.fill == 0
    assert capacity.fullest is None
    assert capacity.fill_with(records=1000, size=2000, partitions=12) < REFUSE_AT
    assert capacity.fill_with(records=100_000, size=2000, partitions=12) > REFUSE_AT


def test_two_workers_relay_everything_and_share_the_work(tmp_path: Path) -> None:
    topics = {f"relay-{kind}": PARTITIONS for kind in ("in", "out", "rows-changelog")}
    with Broker(topics=topics) as broker, lane(broker.bootstrap, "relay", tmp_path, make_topics=False) as relay:
        first, second = (relay.worker(label, embedded=1).ready() for label in ("first", "second"))
        sent = {(key_of(n % 500), n) for n in range(10_000)}
        relay.load((key, {"n": n}) for key, n in sorted(sent, key=lambda record: record[1]))
        relay.all_committed()
        relay.nothing_missing(sent)
        assert relay.partitions_of(first) | relay.partitions_of(second) == set(range(PARTITIONS))
        assert relay.partitions_of(first)
        assert relay.partitions_of(second)
        assert max(first.stop(), second.stop()) < 8
