"""Rows in memory and in RocksDB: recovery, and repair of rows that another worker has overwritten."""

import json
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from devtools.wait import until
from saga_app.stream import partition_of
from tests.kafka.stream.relay_harness import PARTITIONS, RelayHarness, key_of, relay_harness

MILLION = 1_000_000

#: The start of a worker with a long changelog may take this many times as long as reading the changelog, because it
#: includes the start of the process and a rebalance.
MAX_START_RATIO = 6


def worker_rows(relay: RelayHarness, label: str) -> dict[str, int]:
    """The rows in the table of the worker with this label, which has to be the only one: versions by key."""
    path = relay.directory / label / "rows.json"
    path.unlink(missing_ok=True)
    relay.send([(b"dump", {"n": 0})])
    until(path.exists, 15, "the worker did not write its rows to a file")
    rows: dict[str, int] = json.loads(path.read_text())
    return rows


def test_both_stores_have_the_same_rows_live_and_after_a_recovery(relay: RelayHarness) -> None:
    """After a kill, the rows are recovered in memory, in RocksDB with existing files, and in RocksDB without."""
    expected = {key_of(n % 700).decode(): n for n in range(5000)}
    worker = relay.start_worker("rocks", store="rocksdb://", instance="one").ready()
    relay.send((key_of(n % 700), {"n": n}) for n in range(3000))
    relay.wait_until_committed()
    worker.kill()
    rows = {}
    for label, store in (("memory", "memory://"), ("rocks", "rocksdb://"), ("fresh", "rocksdb://")):
        worker = relay.start_worker(label, store=store, instance="one").ready()
        relay.send((key_of(n % 700), {"n": n}) for n in range(3000, 5000))
        relay.wait_until_committed()
        rows[label] = worker_rows(relay, label)
        worker.stop()
    assert rows == dict.fromkeys(("memory", "rocks", "fresh"), expected)


def test_an_overwritten_row_is_written_again_with_the_next_row(relay: RelayHarness) -> None:
    """`overwrite_row` replaces the frozen worker, which would have to be frozen between two instructions."""
    worker = relay.start_worker("owner", instance="one").ready()
    key = overwrite_row(relay)
    # The offset of this row reveals the foreign row before it.
    relay.send([(key_of(1, partition=1), {"n": 8})])
    until(lambda: relay.rows()[key] == 7, 15, "the newer row was not written again")
    worker.kill()
    relay.start_worker("heir", instance="one").ready()
    assert worker_rows(relay, "heir")[key.decode()] == 7


def test_an_overwritten_row_is_written_again_before_a_rebalance(relay: RelayHarness) -> None:
    """The partition gets no new row that would reveal the foreign one.

    A thawed worker joins its group again, which causes a rebalance.
    """
    relay.start_worker("owner").ready()
    key = overwrite_row(relay)
    relay.start_worker("other").ready()
    assert relay.rows()[key] == 7


def test_an_overwritten_row_is_written_again_before_a_stop(relay: RelayHarness) -> None:
    """The partition gets no new row that would reveal the foreign one."""
    owner = relay.start_worker("owner").ready()
    key = overwrite_row(relay)
    owner.stop()
    assert relay.rows()[key] == 7


def overwrite_row(relay: RelayHarness) -> bytes:
    """Let the worker write version 7 of a row, and append version 3 to the changelog as a thawed worker would.

    Returns the key.
    """
    key = key_of(0, partition=1)
    relay.send([(key, {"n": 7})])
    relay.wait_until_committed()
    producer = Producer({"bootstrap.servers": relay.bootstrap, "log_level": 0})
    producer.produce(relay.changelog, b'{"n":3}', key, 1)
    assert producer.flush(10) == 0
    assert relay.rows()[key] == 3
    return key


@pytest.mark.parametrize("store", ["memory://", "rocksdb://"])
def test_a_worker_with_a_million_rows_starts_in_bounded_time(million: RelayHarness, store: str) -> None:
    plain_read_s = measure_plain_read_s(million)
    label = store.split(":", maxsplit=1)[0]
    began = time.monotonic()
    worker = million.start_worker(label, store=store).ready(within_s=60)
    start_s = time.monotonic() - began
    print(
        f"\n{store}: worker with {MILLION:,} rows of 300 bytes ready after {start_s:.1f} s, "
        f"a consumer reads them in {plain_read_s:.1f} s"
    )
    rows = worker_rows(million, label)
    worker.stop()
    assert len(rows) == MILLION
    assert start_s < MAX_START_RATIO * plain_read_s


def measure_plain_read_s(relay: RelayHarness) -> float:
    """How long a plain consumer takes to read the changelog into a dictionary (seconds)."""
    began = time.monotonic()
    consumer = Consumer({"bootstrap.servers": relay.bootstrap, "group.id": "plain", "enable.auto.commit": False})
    consumer.assign([TopicPartition(relay.changelog, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
    rows: dict[bytes | None, bytes | None] = {}
    while len(rows) < MILLION and time.monotonic() - began < 60:
        rows.update((record.key(), record.value()) for record in consumer.consume(10_000, timeout=1.0))
    consumer.close()
    assert len(rows) == MILLION
    return time.monotonic() - began


@pytest.fixture(scope="module")
def million(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayHarness]:
    """A relay without workers, whose changelog has a million rows."""
    with relay_harness(kafka, "million", tmp_path_factory.mktemp("million")) as relay:
        write_million_rows(relay)
        yield relay
        relay.delete_topics()


def write_million_rows(relay: RelayHarness) -> None:
    """Write rows of 300 bytes to the changelog."""
    producer = Producer(
        {
            "bootstrap.servers": relay.bootstrap,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 200_000,
            "log_level": 0,
        }
    )
    value = b'{"n":1,"padding":"%s"}' % (b"x" * 280)
    for number in range(MILLION):
        key = b"key-%d" % number
        while True:
            try:
                producer.produce(relay.changelog, value, key, partition_of(key, PARTITIONS))
                break
            except BufferError:
                producer.poll(0.05)
    assert producer.flush(60) == 0
