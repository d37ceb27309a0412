"""A row is applied to the store when its changelog has acknowledged it, and not before."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.stream import Outputs, Refused, Table, Transport
from saga_app.stream.produce.batching_producer import BatchingProducer
from saga_app.stream.table.changelog_repair import ChangelogRepair
from saga_app.stream.table.rows import NO_OFFSET, RowStore
from tests.fakes.stream import FakeProducer, make_table, until

TIMED_OUT, TOO_LARGE = KafkaError(KafkaError._MSG_TIMED_OUT), KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return make_table(tmp_path)


@pytest.fixture
async def transport(table: Table) -> AsyncIterator[Transport]:
    """The transport of the table's app, whose producer of rows uses a fake librdkafka."""
    transport = cast(Transport, table.app.transport)
    transport.rows = BatchingProducer("nowhere:1", 4.0, producer=FakeProducer)
    yield transport
    await transport.rows.close()


@pytest.fixture
def rows(transport: Transport) -> FakeProducer:
    """The fake librdkafka producer that receives the changelog records."""
    return cast(FakeProducer, transport.rows._main.producer)


@pytest.fixture
def outputs(transport: Transport) -> Outputs:
    return Outputs(transport.rows)


def stored_offset(table: Table) -> int:
    """The offset up to which partition 0 of the store is complete."""
    return table.store.persisted_offset(TP("unit-rows-changelog", 0))


async def wait_for_queued(rows: FakeProducer, count: int) -> None:
    """Wait until librdkafka has this many unacknowledged rows."""
    await until(lambda: len(rows.queued) >= count)


async def test_a_write_is_visible_immediately_and_stored_when_acknowledged(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await wait_for_queued(rows, 1)
    assert table.read(0, b"k") == b"1"
    assert list(table.rows()) == []
    rows.acknowledge()
    await outputs.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"1")]
    assert stored_offset(table) == 0
    assert not table._pending


async def test_the_last_of_several_writes_of_a_key_remains(table: Table, rows: FakeProducer, outputs: Outputs) -> None:
    for value in (b"1", None, b"3"):
        table.write(outputs, 0, b"k", value)
    await wait_for_queued(rows, 3)
    rows.acknowledge(1)
    await asyncio.sleep(0.02)
    assert table.read(0, b"k") == b"3"
    rows.acknowledge()
    await outputs.acknowledged()
    assert (table.read(0, b"k"), stored_offset(table)) == (b"3", 2)


async def test_a_deleted_row_is_removed(table: Table, rows: FakeProducer, outputs: Outputs) -> None:
    rows.auto_acknowledge = True
    table.write(outputs, 0, b"k", b"1")
    await outputs.acknowledged()
    table.write(outputs, 0, b"k", None)
    await outputs.acknowledged()
    assert table.read(0, b"k") is None
    assert list(table.rows()) == []


async def test_the_newest_row_of_a_key_is_sent_again_after_a_timeout(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await wait_for_queued(rows, 1)
    rows.acknowledge(error=TIMED_OUT)
    await wait_for_queued(rows, 1)
    rows.acknowledge()
    await outputs.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"1")]


async def test_a_timed_out_row_completes_with_a_newer_row_of_its_key(
    table: Table, transport: Transport, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    newer = Outputs(transport.rows)
    table.write(newer, 0, b"k", b"2")
    await wait_for_queued(rows, 2)
    rows.acknowledge(1, error=TIMED_OUT)
    await asyncio.sleep(0.02)
    assert outputs.open == 1
    rows.acknowledge()
    await newer.acknowledged()
    await outputs.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"2")]


async def test_if_two_rows_of_a_key_time_out_only_the_newer_is_sent_again(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    table.write(outputs, 0, b"k", b"2")
    await wait_for_queued(rows, 2)
    rows.acknowledge(2, error=TIMED_OUT)
    await wait_for_queued(rows, 1)
    rows.acknowledge()
    await outputs.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"2")]


async def test_a_timed_out_row_waiting_for_a_newer_one_fails_in_a_rebalance(
    table: Table, transport: Transport, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    table.write(Outputs(transport.rows), 0, b"k", b"2")
    await wait_for_queued(rows, 2)
    rows.acknowledge(1, error=TIMED_OUT)
    await asyncio.sleep(0.02)
    await table.on_rebalance(set(), set(), set(), 2)
    with pytest.raises(KafkaException):
        await outputs.acknowledged()


async def test_a_row_is_not_sent_again_after_its_partition_was_revoked(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await wait_for_queued(rows, 1)
    table.app.consumer_generation_id = 2
    rows.acknowledge(error=TIMED_OUT)
    with pytest.raises(KafkaException):
        await outputs.acknowledged()
    assert not rows.queued


async def test_a_row_acknowledged_after_its_partition_was_revoked_is_not_stored(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await wait_for_queued(rows, 1)
    table.app.consumer_generation_id = 2
    rows.acknowledge()
    await outputs.acknowledged()
    assert (list(table.rows()), stored_offset(table)) == ([], NO_OFFSET)


@pytest.mark.field(34)
async def test_a_changelog_recreated_while_in_use_crashes_the_worker(
    table: Table, rows: FakeProducer, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[BaseException] = []

    async def crash(error: BaseException) -> None:
        crashes.append(error)

    monkeypatch.setattr(table.app, "crash", crash)
    table.store.apply(0, [(b"old", b"row")], 500)
    rows.auto_acknowledge = True
    table.write(outputs, 0, b"k", b"1")
    await until(lambda: crashes)
    assert "unit-rows-changelog[0] was deleted and created again" in str(crashes[0])
    assert table.store.read(0, b"k") is None


async def refuse_oldest_row(transport: Transport, rows: FakeProducer) -> None:
    """Refuse the oldest row, and refuse it again when it is sent in a request of its own."""
    rows.acknowledge(1, error=TOO_LARGE)
    lane = await until(lambda: transport.rows._single)
    await until(lambda: lane.producer.queued)
    lane.producer.acknowledge(error=TOO_LARGE)


@pytest.mark.field(32)
async def test_a_refused_row_is_undone(
    table: Table, transport: Transport, rows: FakeProducer, outputs: Outputs
) -> None:
    rows.auto_acknowledge = True
    table.write(outputs, 0, b"k", b"1")
    await outputs.acknowledged()
    rows.auto_acknowledge = False
    table.write(outputs, 0, b"k", b"2" * 1000)
    await wait_for_queued(rows, 1)
    await refuse_oldest_row(transport, rows)
    with pytest.raises(Refused, match="unit-rows-changelog"):
        await outputs.acknowledged()
    assert (table.read(0, b"k"), stored_offset(table), table._pending) == (b"1", 0, {})


@pytest.mark.field(32)
async def test_a_refused_row_does_not_undo_a_newer_row_of_its_key(
    table: Table, transport: Transport, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1" * 1000)
    newer = Outputs(transport.rows)
    table.write(newer, 0, b"k", b"2")
    await wait_for_queued(rows, 2)
    await refuse_oldest_row(transport, rows)
    with pytest.raises(Refused):
        await outputs.acknowledged()
    rows.acknowledge()
    await newer.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"2")]


async def test_a_row_overwritten_by_another_worker_is_written_again(
    table: Table, transport: Transport, rows: FakeProducer, outputs: Outputs
) -> None:
    async def keys_at(_partition: int, offsets: Sequence[int]) -> set[bytes]:
        assert list(offsets) == [1]
        return {b"k", b"unknown"}

    table._repair = ChangelogRepair(keys_at, table._rewrite)
    transport.messages = transport.rows
    rows.auto_acknowledge = True
    table.write(outputs, 0, b"k", b"1")
    await outputs.acknowledged()
    rows.skip_offset("unit-rows-changelog", 0)
    table.write(outputs, 0, b"other", b"2")
    await outputs.acknowledged()
    await until(lambda: rows._offsets["unit-rows-changelog", 0] >= 4)
    assert table.read(0, b"k") == b"1"
    assert stored_offset(table) == 0, "the next recovery would not read the foreign row"


async def test_unacknowledged_rows_are_dropped_in_a_rebalance(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await table.on_rebalance(set(), set(), set(), 2)
    assert table.read(0, b"k") is None


async def test_a_recovery_skips_records_that_the_store_already_has(table: Table) -> None:
    def records(*offsets: int) -> list[Any]:
        return [SimpleNamespace(key=b"k%d" % n, value=b"%d" % n, offset=n) for n in offsets]

    table.restore(0, records(0, 1, 2))
    table.store.apply(0, [(b"k2", b"newer")], 3)
    table.restore(0, records(1, 2, 3, 5))
    assert (table.read(0, b"k2"), table.read(0, b"k5"), stored_offset(table)) == (b"newer", b"5", 5)


@pytest.mark.parametrize("scheme", ["memory://", "rocksdb://"])
@pytest.mark.parametrize("key", [None, b"", b"__faust\0offset__"])
def test_a_recovery_accepts_changelog_records_with_any_key(tmp_path: Path, scheme: str, key: bytes | None) -> None:
    table = make_table(tmp_path, scheme)
    table.restore(0, [SimpleNamespace(key=key, value=b"x", offset=4), SimpleNamespace(key=b"k", value=b"v", offset=5)])
    assert (b"k", b"v") in [(found, value) for _, found, value in table.rows()]
    assert stored_offset(table) == 5


@pytest.mark.parametrize("scheme", ["memory://", "rocksdb://"])
def test_rows_can_be_read_in_pages_without_gaps_or_repetitions(tmp_path: Path, scheme: str) -> None:
    table = make_table(tmp_path, scheme)
    for partition in (2, 0):
        table.store.apply(partition, [(b"k%d" % n, b"v") for n in range(5)], 4)
    all_rows, paged_rows = list(table.rows()), []
    after: tuple[int, bytes] | None = None
    while page := list(islice(table.rows(after), 3)):
        paged_rows += page
        after = page[-1][:2]
    assert paged_rows == all_rows == [(p, b"k%d" % n, b"v") for p in (0, 2) for n in range(5)]


def test_writing_as_to_a_dictionary_raises_type_error(table: Table) -> None:
    with pytest.raises(TypeError, match=r"table\.write"):
        table[b"k"] = b"v"
    with pytest.raises(TypeError, match=r"table\.write"):
        del table[b"k"]


async def test_a_lock_excludes_other_tasks_and_is_removed_when_released(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    async def add_one() -> None:
        async with table.lock(0, b"k"):
            row = table.read(0, b"k")
            await asyncio.sleep(0.001)
            table.write(outputs, 0, b"k", b"%d" % (int(row or 0) + 1))

    await asyncio.gather(*(add_one() for _ in range(20)))
    assert table.read(0, b"k") == b"20"
    assert not table._locks


async def test_cancelled_waiters_of_a_lock_do_not_block_the_next(table: Table) -> None:
    entered: list[str] = []

    async def work(name: str) -> None:
        async with table.lock(0, b"k"):
            entered.append(name)
            await asyncio.sleep(0.002)
        if name == "first":
            next_owner.cancel()  # the lock was passed to it, and it has not run since

    names = ("first", "waiter", "next owner", "last")
    first, waiter, next_owner, last = [asyncio.create_task(work(name)) for name in names]
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(first, last)
    assert entered == ["first", "last"]
    assert not table._locks


async def test_the_owner_and_the_waiters_of_a_lock_can_be_cancelled_together(table: Table) -> None:
    async def work() -> None:
        async with table.lock(0, b"k"):
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(work()) for _ in range(4)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    assert not table._locks


#: A partition with writes to some of four keys, or a partition (0 or 1) that is emptied.
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 1),
            st.lists(
                st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.none() | st.binary(max_size=5)), max_size=5
            ),
        ),
        st.integers(0, 1),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_memory_and_rocksdb_hold_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | tuple[int, list[tuple[bytes, bytes | None]]]]
) -> None:
    stores: list[RowStore] = [
        make_table(tmp_path_factory.mktemp("store"), scheme).store for scheme in ("memory://", "rocksdb://")
    ]
    expected: dict[int, dict[bytes, bytes]] = {0: {}, 1: {}}
    for at, step in enumerate(steps):
        if isinstance(step, int):
            expected[step] = {}
            for store in stores:
                asyncio.run(empty_partition(store, step))
            continue
        partition, writes = step
        for key, value in writes:
            expected[partition].pop(key, None)
            if value is not None:
                expected[partition][key] = value
        for store in stores:
            store.apply(partition, iter(writes), at)
    for store in stores:
        for partition, rows in expected.items():
            assert list(store.rows(partition)) == sorted(rows.items())
            assert list(store.rows(partition, after=b"b")) == sorted(row for row in rows.items() if row[0] > b"b")
            assert all(store.read(partition, key) == rows.get(key) for key in (b"a", b"b", b"c", b"d", b"e"))
    memory, rocks = ({p: store.persisted_offset(TP("unit-rows-changelog", p)) for p in (0, 1)} for store in stores)
    assert memory == rocks


async def empty_partition(store: Any, partition: int) -> None:
    """Let another worker own the partition and delete all of its rows.

    The memory store drops a revoked partition. RocksDB keeps it, and its next recovery applies the deletions.
    """
    tp = TP("unit-rows-changelog", partition)
    if hasattr(store, "dbs"):
        store.apply(partition, [(key, None) for key, _ in list(store.rows(partition))], NO_OFFSET)
    else:
        await store.on_rebalance(set(), {tp}, set())
