"""The consumer fetches, sends and commits only in the right phase of a rebalance."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.types import TP

from saga_app.stream import Batch, Outputs, Table, Transport
from saga_app.stream.consume.commits import Commits
from saga_app.stream.consume.consumer import Consumer
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.consume.phase import Phase
from saga_app.stream.produce.batching_producer import BatchingProducer
from saga_app.stream.table.rows import NO_OFFSET
from tests.fakes.stream import FakeProducer, batch, finish_all, record

IN, CHANGELOG = TP("in", 0), TP("unit-rows-changelog", 0)


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[Transport]:
    app = faust.App("unit", broker="kafka://127.0.0.1:1", store="memory://", datadir=str(tmp_path))
    transport = Transport.install(app)
    app.consumer_generation_id = 1
    Table(app, name="rows", partitions=4)
    transport.rows = BatchingProducer("nowhere:1", 4.0, producer=FakeProducer)
    yield transport
    await transport.rows.close()


@pytest.fixture
async def consumer(transport: Transport) -> Consumer:
    """A consumer without an assignment, whose thread has not started. It belongs to the event loop of the test."""

    async def do_nothing(*args: Any, **kwargs: Any) -> None:
        return None

    consumer = Consumer(transport, do_nothing, do_nothing, do_nothing)

    async def seek_to_committed() -> dict[TP, int]:
        return {IN: 0}

    consumer.seek_to_committed = seek_to_committed  # type: ignore[method-assign]
    return consumer


async def assign(consumer: Consumer) -> None:
    """Assign `IN` and `CHANGELOG`, so that a recovery begins."""
    await consumer.on_partitions_assigned({IN, CHANGELOG}, 1)


async def start_streaming(consumer: Consumer) -> None:
    """Assign the partitions, and complete the recovery."""
    await assign(consumer)
    await consumer.perform_seek()
    consumer.resume_flow()


def return_records(consumer: Consumer, records: dict[TP, list[Any]]) -> None:
    """Let each fetch of the consumer return these records."""

    async def fetch_records(partitions: set[TP], timeout_s: float) -> dict[TP, list[Any]]:
        return records

    consumer.fetch_records = fetch_records  # type: ignore[method-assign]


# -- phases of a rebalance


async def test_streams_are_fetched_only_after_the_seek_and_the_next_resume(consumer: Consumer) -> None:
    """Until then only changelogs are fetched."""
    assert consumer.fetchable() == frozenset()
    await assign(consumer)
    consumer.resume_flow()
    assert consumer.fetchable() == {CHANGELOG}
    await consumer.perform_seek()
    assert consumer.fetchable() == {CHANGELOG}, "streams were fetched before the queues of the agents were cleared"
    consumer.resume_flow()
    assert consumer.fetchable() == {IN, CHANGELOG}


async def test_a_rebalance_during_the_seek_of_the_previous_one_is_noticed(consumer: Consumer) -> None:
    await assign(consumer)

    async def revoke_while_seeking() -> dict[TP, int]:
        await consumer.on_partitions_revoked({IN, CHANGELOG})
        return {}

    consumer.seek_to_committed = revoke_while_seeking  # type: ignore[method-assign]
    await consumer.perform_seek()
    consumer.resume_flow()
    assert consumer.phase is Phase.REVOKED
    assert consumer.fetchable() == frozenset()


async def test_batches_fetched_before_a_seek_are_dropped(consumer: Consumer) -> None:
    await start_streaming(consumer)
    fetched = consumer.ledger.add(batch([0, 1]))
    await consumer.perform_seek()
    assert (fetched.live, consumer.ledger.inflight) == (False, 0)


async def test_rows_left_by_the_drain_are_not_sent_under_the_next_assignment(
    consumer: Consumer, transport: Transport
) -> None:
    await start_streaming(consumer)
    outputs = Outputs(transport.rows)
    outputs.send("rows", b"k", b"v")
    await consumer.on_partitions_revoked({IN, CHANGELOG})
    await assign(consumer)
    with pytest.raises(Exception, match="_PURGE_QUEUE"):
        await outputs.acknowledged()
    producer: Any = transport.rows._main.producer
    assert not producer.queued


async def test_a_new_assignment_renews_the_lease(consumer: Consumer, transport: Transport) -> None:
    transport.lease.membership_lost = True
    await assign(consumer)
    assert transport.lease.holds()


# -- delivering what was fetched


async def test_a_run_is_one_message_and_a_changelog_run_goes_to_its_table(consumer: Consumer) -> None:
    await start_streaming(consumer)
    run = [record(offset) for offset in range(5)]
    return_records(consumer, {IN: run, CHANGELOG: run})
    messages = {tp: message async for tp, message in consumer.getmany(0.1)}
    assert messages[IN].records == run
    assert messages[CHANGELOG].offset == 4
    assert consumer.ledger.inflight == 5
    table: Any = consumer.table_of(CHANGELOG)
    assert table.read(0, b"k") == b"v"


async def test_a_delivery_that_does_not_wait_creates_no_task(consumer: Consumer) -> None:
    task_counts: list[int] = []

    async def deliver() -> str:
        task_counts.append(len(asyncio.all_tasks()))
        return "delivered"

    first = await consumer.wait_first(deliver(), asyncio.Event().wait())
    assert (first.results, first.stopped, task_counts) == (["delivered"], False, [1])


async def test_a_waiting_delivery_ends_when_the_flow_is_suspended(consumer: Consumer) -> None:
    """`wait_first` returns the result of the delivery, or of the suspension if that comes first."""
    deliverable, suspended = asyncio.Event(), asyncio.Event()

    async def deliver() -> str:
        await deliverable.wait()
        return "delivered"

    loop = asyncio.get_running_loop()
    loop.call_later(0.01, deliverable.set)
    assert (await consumer.wait_first(deliver(), suspended.wait())).results == ["delivered"]
    deliverable.clear()
    loop.call_later(0.01, suspended.set)
    assert (await consumer.wait_first(deliver(), suspended.wait())).results == [True]


async def test_a_stopped_consumer_does_not_wait(consumer: Consumer) -> None:
    consumer._stopped.set()
    assert (await consumer.wait_first(asyncio.Event().wait())).stopped


async def test_records_fetched_before_a_revocation_are_not_delivered(consumer: Consumer) -> None:
    await start_streaming(consumer)
    return_records(consumer, {IN: [record(0)], TP("in", 1): [record(0)]})
    delivered = []
    async for tp, _ in consumer.getmany(0.1):
        delivered.append(tp)
        consumer.app.consumer_generation_id = 2
    assert delivered == [IN]
    assert consumer.ledger.inflight == 1


class FakeFetcher:
    """Returns the record at offset 7 of each partition, and has skipped the offsets 9 to 11 of `IN`.

    on_fetch: called during each fetch
    """

    def __init__(self, on_fetch: Callable[[], None] = lambda: None) -> None:
        self._on_fetch = on_fetch
        self._skipped = {IN: (9, 12)}

    def take_skipped(self) -> dict[TP, tuple[int, int]]:
        skipped, self._skipped = self._skipped, {}
        return skipped

    def forget_skipped(self, tp: TP) -> None:
        self._skipped.pop(tp, None)

    async def fetch(self, states: Any, timeout_s: float, max_records: int) -> dict[TP, list[Any]]:
        self._on_fetch()
        return {tp: [record(7)] for tp in states}


class FakeClient:
    """Records the seeks of aiokafka's consumer."""

    def __init__(self) -> None:
        self.seeks: dict[TP, int] = {}

    def seek(self, tp: TP, offset: int) -> None:
        self.seeks[tp] = offset


@pytest.mark.parametrize("is_kept", [True, False])
async def test_records_fetched_under_an_ended_assignment_move_no_position(consumer: Consumer, is_kept: bool) -> None:
    """Such records are dropped.

    Seeking back to them would crash the worker if the partition was revoked. If the next assignment contains the
    partition too, it could start after its committed offset.
    """
    await start_streaming(consumer)
    subscription = SubscriptionState()
    subscription.subscribe({IN.topic})
    subscription.assign_from_subscribed({IN})
    client: Any = FakeClient()
    client._closed, client._subscription = False, subscription
    thread: Any = consumer.new_thread()
    thread.fetcher = FakeFetcher(lambda: subscription.assign_from_subscribed({IN} if is_kept else set()))
    assert await thread.fetch(client, {IN}, 0.1, None) == {}
    assert client.seeks == {}
    assert thread.take_skipped() == {}, "offsets after the dropped records were skipped"


async def test_records_of_a_stream_fetched_during_a_recovery_are_put_back(consumer: Consumer) -> None:
    """Without a committed offset no later seek would return to them."""
    await assign(consumer)
    client: Any = FakeClient()
    records = {IN: [record(7), record(8)], CHANGELOG: [record(3)]}
    thread: Any = consumer.new_thread()
    thread.fetcher = FakeFetcher()
    thread._put_back(client, records)
    assert client.seeks == {IN: 7}
    assert thread.take_skipped() == {}, "offsets after the records that were put back were skipped"
    assert list(records) == [CHANGELOG]


@pytest.mark.field(34)
async def test_records_of_a_recreated_topic_are_not_taken_for_old_ones(
    consumer: Consumer, now: Callable[[str], None]
) -> None:
    await start_streaming(consumer)
    return_records(consumer, {IN: [record(0)]})
    consumer._read_offset[IN] = 500
    async for tp, _message in consumer.getmany(0.1):
        assert consumer._read_offset[tp] is None, "Faust would drop records below offset 500"
    now("a recreated topic is read from its beginning")


@pytest.mark.field(35)
@pytest.mark.parametrize("offsets", [[], [7, 8]])
async def test_skipped_offsets_are_committed_after_the_batch_before_them(
    consumer: Consumer, offsets: list[int]
) -> None:
    await start_streaming(consumer)
    return_records(consumer, {IN: [record(offset) for offset in offsets]} if offsets else {})
    thread: Any = consumer.thread
    thread.fetcher = FakeFetcher()
    batches = [message async for _, message in consumer.getmany(0.1)]
    assert consumer.ledger.committable() == ({} if offsets else {IN: 12})
    for each in batches:
        finish_all(each)
    assert consumer.ledger.committable() == {IN: 12}


# -- commits


class FakeConsumer:
    """What `Commits` uses of a consumer that owns `IN`.

    commit_succeeds: the answer of the broker to each commit
    commits: the offsets of each commit request
    """

    def __init__(self) -> None:
        self.ledger = Ledger(100)
        self.app = SimpleNamespace(monitor=SimpleNamespace(on_tp_commit=lambda offsets: None))
        self.thread = SimpleNamespace(should_stop=False)
        self.commit_succeeds = True
        self.commits: list[dict[TP, int]] = []

    def assignment(self) -> set[TP]:
        return {IN}

    async def commit_offsets(self, offsets: dict[TP, int]) -> bool:
        self.commits.append(offsets)
        return self.commit_succeeds


async def test_finished_records_are_committed_once_and_again_after_a_failure() -> None:
    consumer = FakeConsumer()
    commits = Commits(consumer)
    consumer.ledger.add(batch([0, 1])).finish(0)
    consumer.commit_succeeds = False
    assert not await commits.commit()
    consumer.commit_succeeds = True
    assert await commits.commit()
    assert not await commits.commit()
    assert consumer.commits == [{IN: 1}, {IN: 1}]


async def test_revoked_partitions_are_not_committed() -> None:
    consumer = FakeConsumer()
    finish_all(consumer.ledger.add(batch([0], partition=3)))
    assert not await Commits(consumer).commit()
    assert consumer.commits == []


async def test_a_drain_waits_for_work_in_flight_and_cancels_late_tasks() -> None:
    consumer = FakeConsumer()
    fast, slow = consumer.ledger.add(batch([0])), consumer.ledger.add(batch([1]))

    async def work(seconds: float, fetched: Batch) -> None:
        await asyncio.sleep(seconds)
        finish_all(fetched)

    fast.begin(asyncio.create_task(work(0.02, fast)))
    slow.begin(late := asyncio.create_task(work(60, slow)))
    await Commits(consumer).drain(0.1)
    assert late.cancelled()
    assert consumer.commits == [{IN: 1}]
    assert [fast.open, slow.open] == [False, False], "further tasks could be started"


async def test_a_drain_after_a_crash_cancels_tasks_immediately() -> None:
    consumer = FakeConsumer()
    consumer.thread.should_stop = True
    fetched = consumer.ledger.add(batch([0]))
    fetched.begin(late := asyncio.create_task(asyncio.sleep(60)))
    async with asyncio.timeout(1):
        await Commits(consumer).drain(60)
    assert late.cancelled()


# -- recovery


@pytest.mark.field(29, 34)
async def test_a_recovery_rebuilds_a_table_that_is_ahead_of_its_changelog(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def highwaters(*_partitions: TP) -> dict[TP, int]:
        return {CHANGELOG: 17}

    monkeypatch.setattr(consumer.thread, "highwaters", highwaters)
    tables: Any = consumer.app.tables
    table = tables["rows"]
    table.store.apply(0, [(b"k", b"v")], 41)
    tables.recovery.active_offsets[CHANGELOG] = 41
    await start_streaming(consumer)
    await consumer.highwaters(CHANGELOG)
    assert table.read(0, b"k") == b"v", "a table was reset outside of a recovery"
    await assign(consumer)
    await consumer.highwaters(CHANGELOG)
    assert (table.read(0, b"k"), tables.recovery.active_offsets[CHANGELOG]) == (None, NO_OFFSET)
