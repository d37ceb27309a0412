"""The rows of a table, in memory and in RocksDB."""

import json
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from saga_app.stream import partition_of
from tests.kafka.stream.relay_harness import PARTITIONS, RelayHarness, key_of, lane
from devtools.wait import until

MILLION = 1_000_000

#: How much longer than plain reading it may take until a worker is back: its start and its rebalance are in it.
TIMES_PLAIN = 6


def rows_of(relay: RelayHarness, label: str) -> dict[str, int]:
    """What the one worker of this lane has in its table."""
    path = relay.directory / label / "rows.json"
    path.unlink(missing_ok=True)
    relay.load([(b"dump", {"n": 0})])
    until(path.exists, 15, "the rows were dumped")
    found: dict[str, int] = json.loads(path.read_text())
    return found


def test_memory_and_rocksdb_have_the_same_rows_live_and_recovered(relay: RelayHarness) -> None:
    """Live, after a restart with what is on disk, and from nothing."""
    wanted = {key_of(n % 700).decode(): n for n in range(5000)}
    worker = relay.worker("rocks", store="rocksdb://", instance="one").ready()
    relay.load((key_of(n % 700), {"n": n}) for n in range(3000))
    relay.all_committed()
    worker.kill()
    seen = {}
    for label, store in (("memory", "memory://"), ("rocks", "rocksdb://"), ("fresh", "rocksdb://")):
        worker = relay.worker(label, store=store, instance="one").ready()
        relay.load((key_of(n % 700), {"n": n}) for n in range(3000, 5000))
        relay.all_committed()
        seen[label] = rows_of(relay, label)
        worker.stop()
    assert seen == dict.fromkeys(("memory", "rocks", "fresh"), wanted)


def test_a_row_that_a_frozen_worker_has_overwritten_is_written_again(relay: RelayHarness) -> None:
    """By hand, because the real thing takes a freeze between two instructions."""
    worker = relay.worker("owner", instance="one").ready()
    key = overwritten(relay)
    relay.load([(key_of(1, partition=1), {"n": 8})])  # with its next row the owner sees it
    until(lambda: relay.rows()[key] == 7, 15, "the newer row stands in the changelog again")
    worker.kill()
    relay.worker("heir", instance="one").ready()
    assert rows_of(relay, "heir")[key.decode()] == 7


def test_in_a_quiet_partition_it_is_written_again_before_another_worker_gets_it(relay: RelayHarness) -> None:
    """Whoever was frozen joins the group again: that is a rebalance."""
    relay.worker("owner").ready()
    key = overwritten(relay)
    relay.worker("other").ready()
    assert relay.rows()[key] == 7


def test_in_a_quiet_partition_it_is_written_again_before_its_worker_stops(relay: RelayHarness) -> None:
    owner = relay.worker("owner").ready()
    key = overwritten(relay)
    owner.stop()
    assert relay.rows()[key] == 7


def overwritten(relay: RelayHarness) -> bytes:
    """The key of row 7, behind which the older row 3 stands."""
    key = key_of(0, partition=1)
    relay.load([(key, {"n": 7})])
    relay.all_committed()
    stray = Producer({"bootstrap.servers": relay.bootstrap, "log_level": 0})
    stray.produce(relay.changelog, b'{"n":3}', key, 1)
    assert stray.flush(10) == 0
    assert relay.rows()[key] == 3
    return key


@pytest.mark.parametrize("store", ["memory://", "rocksdb://"])
def test_a_million_rows_are_back_soon_after_a_plain_client_could_have_read_them(million: RelayHarness, store: str) -> None:
    plain = plain_reading_s(million)
    label = store.split(":", maxsplit=1)[0]
    began = time.monotonic()
    worker = million.worker(label, store=store).ready(within_s=60)
    took = time.monotonic() - began
    print(f"\n{store}: {MILLION:,} rows of 300 bytes back {took:.1f} s after the start of the process;", end=" ")
    print(f"a plain client reads them in {plain:.1f} s")
    rows = rows_of(million, label)
    worker.stop()
    assert len(rows) == MILLION
    assert took < TIMES_PLAIN * plain


def plain_reading_s(relay: RelayHarness) -> float:
    """How long a client takes that only reads the changelog into a dictionary (seconds)."""
    began = time.monotonic()
    reader = Consumer({"bootstrap.servers": relay.bootstrap, "group.id": "plain", "enable.auto.commit": False})
    reader.assign([TopicPartition(relay.changelog, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
    rows: dict[bytes, bytes] = {}
    while len(rows) < MILLION and time.monotonic() - began < 60:
        rows.update((record.key(), record.value()) for record in reader.consume(10_000, timeout=1.0))
    reader.close()
    assert len(rows) == MILLION
    return time.monotonic() - began


@pytest.fixture(scope="module")
def million(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayHarness]:
    """A lane whose changelog is long already."""
    with lane(kafka, "million", tmp_path_factory.mktemp("million")) as made:
        fill(made)
        yield made
        made.forget()


def fill(relay: RelayHarness) -> None:
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
