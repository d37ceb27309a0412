"""A row reaches the store when its changelog has acknowledged it, and not before."""

import asyncio
from collections.abc import Sequence
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
from tests.fakes.stream import FakeProducer, make_table

TIMED_OUT, TOO_LARGE = KafkaError(KafkaError._MSG_TIMED_OUT), KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return make_table(tmp_path)


@pytest.fixture
async def rows(table: Table) -> Any:
    """librdkafka, as the table's changelog sees it."""
    transport = cast(Transport, table.app.transport)
    transport.rows = BatchingProducer("nowhere:1", 4.0, producer=FakeProducer)
    yield transport.rows._main.producer
    await transport.rows.close()


@pytest.fixture
async def outputs(table: Table, rows: FakeProducer) -> Outputs:
    return Outputs(cast(Transport, table.app.transport).rows)


def offset(table: Table) -> int:
    return table.store.persisted_offset(TP("unit-rows-changelog", 0))


async def sent(rows: FakeProducer, count: int) -> None:
    async with asyncio.timeout(2):
        while len(rows.taken) < count:
            await asyncio.sleep(0.001)


async def test_a_write_is_read_at_once_and_stored_when_acknowledged(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await sent(rows, 1)
    assert table.read(0, b"k") == b"1"
    assert list(table.rows()) == []
    rows.acknowledge()
    await outputs.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"1")]
    assert offset(table) == 0
    assert not table._pending


async def test_of_several_writes_of_a_key_the_last_one_stays(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    for value in (b"1", None, b"3"):
        table.write(outputs, 0, b"k", value)
    await sent(rows, 3)
    rows.acknowledge(1)
    await asyncio.sleep(0.02)
    assert table.read(0, b"k") == b"3"
    rows.acknowledge()
    await outputs.acknowledged()
    assert (table.read(0, b"k"), offset(table)) == (b"3", 2)


async def test_a_deleted_row_is_gone(table: Table, rows: FakeProducer, outputs: Outputs) -> None:
    rows.automatic = True
    table.write(outputs, 0, b"k", b"1")
    await outputs.acknowledged()
    table.write(outputs, 0, b"k", None)
    await outputs.acknowledged()
    assert table.read(0, b"k") is None
    assert list(table.rows()) == []


async def test_a_row_that_timed_out_and_is_still_the_newest_is_put_again(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await sent(rows, 1)
    rows.acknowledge(error=TIMED_OUT)
    await sent(rows, 1)
    rows.acknowledge()
    await outputs.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"1")]


async def test_a_row_that_timed_out_behind_a_newer_one_is_not_put_again_and_is_done_when_that_is(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    newer = Outputs(cast(Transport, table.app.transport).rows)
    table.write(newer, 0, b"k", b"2")
    await sent(rows, 2)
    rows.acknowledge(1, error=TIMED_OUT)
    await asyncio.sleep(0.02)
    assert outputs.open == 1
    rows.acknowledge()
    await newer.acknowledged()
    await outputs.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"2")]


async def test_two_rows_of_a_key_that_both_timed_out_are_done_when_the_newer_is_put_again(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    table.write(outputs, 0, b"k", b"2")
    await sent(rows, 2)
    rows.acknowledge(2, error=TIMED_OUT)
    await sent(rows, 1)
    rows.acknowledge()
    await outputs.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"2")]


async def test_a_row_that_waits_for_a_newer_one_fails_in_a_rebalance(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    table.write(Outputs(cast(Transport, table.app.transport).rows), 0, b"k", b"2")
    await sent(rows, 2)
    rows.acknowledge(1, error=TIMED_OUT)
    await asyncio.sleep(0.02)
    await table.on_rebalance(set(), set(), set(), 2)
    with pytest.raises(KafkaException):
        await outputs.acknowledged()


async def test_a_row_that_timed_out_after_its_partition_was_given_away_is_not_put_again(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await sent(rows, 1)
    table.app.consumer_generation_id = 2
    rows.acknowledge(error=TIMED_OUT)
    with pytest.raises(KafkaException):
        await outputs.acknowledged()
    assert not rows.taken


async def test_a_row_acknowledged_after_its_partition_was_given_away_is_not_stored(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await sent(rows, 1)
    table.app.consumer_generation_id = 2
    rows.acknowledge()
    await outputs.acknowledged()
    assert (list(table.rows()), offset(table)) == ([], NO_OFFSET)


@pytest.mark.field(34)
async def test_a_changelog_that_was_created_again_under_the_worker_ends_it_with_this_reason(
    table: Table, rows: FakeProducer, outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[BaseException] = []

    async def crash(error: BaseException) -> None:
        ended.append(error)

    monkeypatch.setattr(table.app, "crash", crash)
    table.store.apply(0, [(b"old", b"row")], 500)
    rows.automatic = True
    table.write(outputs, 0, b"k", b"1")
    async with asyncio.timeout(2):
        while not ended:
            await asyncio.sleep(0.001)
    assert "unit-rows-changelog[0] was deleted and created again" in str(ended[0])
    assert table.store.read(0, b"k") is None


async def refused(table: Table, rows: FakeProducer) -> None:
    """The changelog refuses the oldest row, also when it is sent alone."""
    producer: Any = cast(Transport, table.app.transport).rows
    rows.acknowledge(1, error=TOO_LARGE)
    async with asyncio.timeout(2):
        while not (producer._single and producer._single.producer.taken):
            await asyncio.sleep(0.001)
    producer._single.producer.acknowledge(error=TOO_LARGE)


@pytest.mark.field(32)
async def test_a_row_that_the_changelog_refuses_was_never_written(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    rows.automatic = True
    table.write(outputs, 0, b"k", b"1")
    await outputs.acknowledged()
    rows.automatic = False
    table.write(outputs, 0, b"k", b"2" * 1000)
    await sent(rows, 1)
    await refused(table, rows)
    with pytest.raises(Refused, match="unit-rows-changelog"):
        await outputs.acknowledged()
    assert (table.read(0, b"k"), offset(table), table._pending) == (b"1", 0, {})


@pytest.mark.field(32)
async def test_a_newer_row_of_the_same_key_is_not_forgotten_with_it(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1" * 1000)
    newer = Outputs(cast(Transport, table.app.transport).rows)
    table.write(newer, 0, b"k", b"2")
    await sent(rows, 2)
    await refused(table, rows)
    with pytest.raises(Refused):
        await outputs.acknowledged()
    rows.acknowledge()
    await newer.acknowledged()
    assert list(table.rows()) == [(0, b"k", b"2")]


async def test_a_row_that_somebody_else_has_overwritten_is_written_again_and_left_to_the_next_recovery(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    async def keys_at(_partition: int, offsets: Sequence[int]) -> set[bytes]:
        assert list(offsets) == [1]
        return {b"k", b"unknown"}

    table._repair = ChangelogRepair(keys_at, table._rewrite)
    transport = cast(Transport, table.app.transport)
    transport.messages = transport.rows
    rows.automatic = True
    table.write(outputs, 0, b"k", b"1")
    await outputs.acknowledged()
    rows.skip("unit-rows-changelog", 0)
    table.write(outputs, 0, b"other", b"2")
    await outputs.acknowledged()
    async with asyncio.timeout(2):
        while rows._offsets["unit-rows-changelog", 0] < 4:
            await asyncio.sleep(0.001)
    assert table.read(0, b"k") == b"1"
    assert offset(table) == 0, "what follows is read again, the foreign row included"


async def test_what_was_never_acknowledged_is_forgotten_in_a_rebalance(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    table.write(outputs, 0, b"k", b"1")
    await table.on_rebalance(set(), set(), set(), 2)
    assert table.read(0, b"k") is None


async def test_recovery_skips_what_the_store_has(table: Table) -> None:
    def run(*offsets: int) -> list[Any]:
        return [SimpleNamespace(key=b"k%d" % n, value=b"%d" % n, offset=n) for n in offsets]

    table.restore(0, run(0, 1, 2))
    table.store.apply(0, [(b"k2", b"newer")], 3)
    table.restore(0, run(1, 2, 3, 5))
    assert (table.read(0, b"k2"), table.read(0, b"k5"), offset(table)) == (b"newer", b"5", 5)


@pytest.mark.parametrize("scheme", ["memory://", "rocksdb://"])
@pytest.mark.parametrize("key", [None, b"", b"__faust\0offset__"])
def test_recovery_takes_changelog_records_with_any_key(tmp_path: Path, scheme: str, key: bytes | None) -> None:
    table = make_table(tmp_path, scheme)
    table.restore(0, [SimpleNamespace(key=key, value=b"x", offset=4), SimpleNamespace(key=b"k", value=b"v", offset=5)])
    assert (b"k", b"v") in [(found, value) for _, found, value in table.rows()]
    assert offset(table) == 5


@pytest.mark.parametrize("scheme", ["memory://", "rocksdb://"])
def test_rows_are_read_in_portions_without_missing_or_repeating_one(tmp_path: Path, scheme: str) -> None:
    table = make_table(tmp_path, scheme)
    for partition in (2, 0):
        table.store.apply(partition, [(b"k%d" % n, b"v") for n in range(5)], 4)
    everything, seen = list(table.rows()), []
    after: tuple[int, bytes] | None = None
    while portion := list(islice(table.rows(after), 3)):
        seen += portion
        after = portion[-1][:2]
    assert seen == everything == [(p, b"k%d" % n, b"v") for p in (0, 2) for n in range(5)]


def test_the_dictionary_way_of_writing_is_refused(table: Table) -> None:
    with pytest.raises(TypeError, match=r"table\.write"):
        table[b"k"] = b"v"
    with pytest.raises(TypeError, match=r"table\.write"):
        del table[b"k"]


async def test_a_locked_row_keeps_others_of_its_key_out_and_leaves_nothing_behind(
    table: Table, rows: FakeProducer, outputs: Outputs
) -> None:
    async def add_one() -> None:
        async with table.locked(0, b"k"):
            row = table.read(0, b"k")
            await asyncio.sleep(0.001)
            table.write(outputs, 0, b"k", b"%d" % (int(row or 0) + 1))

    await asyncio.gather(*(add_one() for _ in range(20)))
    assert table.read(0, b"k") == b"20"
    assert not table._locks


async def test_who_waits_for_a_row_and_is_cancelled_holds_up_nobody(table: Table) -> None:
    entered: list[str] = []

    async def work(name: str) -> None:
        async with table.locked(0, b"k"):
            entered.append(name)
            await asyncio.sleep(0.002)
        if name == "first":
            handed.cancel()  # it has been given the row, and has not run yet

    first, gone, handed, last = [asyncio.create_task(work(name)) for name in ("first", "gone", "handed", "last")]
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(first, last)
    assert entered == ["first", "last"]
    assert not table._locks


async def test_who_has_a_row_and_who_waits_for_it_may_be_cancelled_together(table: Table) -> None:
    async def work() -> None:
        async with table.locked(0, b"k"):
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(work()) for _ in range(4)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
    assert not table._locks


#: Runs of writes to four keys on two partitions, and partitions given away in between.
LIFE = st.lists(
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


@given(LIFE)
@settings(max_examples=40, deadline=None)
def test_memory_and_rocksdb_hold_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, life: list[int | tuple[int, list[tuple[bytes, bytes | None]]]]
) -> None:
    stores: list[RowStore] = [
        make_table(tmp_path_factory.mktemp("store"), scheme).store for scheme in ("memory://", "rocksdb://")
    ]
    plain: dict[int, dict[bytes, bytes]] = {0: {}, 1: {}}
    for at, step in enumerate(life):
        if isinstance(step, int):
            plain[step] = {}
            for store in stores:
                asyncio.run(give_away(store, step))
            continue
        partition, writes = step
        for key, value in writes:
            plain[partition].pop(key, None)
            if value is not None:
                plain[partition][key] = value
        for store in stores:
            store.apply(partition, iter(writes), at)
    for store in stores:
        for partition, wanted in plain.items():
            assert list(store.rows(partition)) == sorted(wanted.items())
            assert list(store.rows(partition, after=b"b")) == sorted(row for row in wanted.items() if row[0] > b"b")
            assert all(store.read(partition, key) == wanted.get(key) for key in (b"a", b"b", b"c", b"d", b"e"))
    memory, rocks = ({p: store.persisted_offset(TP("unit-rows-changelog", p)) for p in (0, 1)} for store in stores)
    assert memory == rocks


async def give_away(store: Any, partition: int) -> None:
    """The partition goes to another worker, which empties it; memory forgets, RocksDB gets to know it in recovery."""
    tp = TP("unit-rows-changelog", partition)
    if hasattr(store, "dbs"):
        store.apply(partition, [(key, None) for key, _ in list(store.rows(partition))], NO_OFFSET)
    else:
        await store.on_rebalance(set(), {tp}, set())
