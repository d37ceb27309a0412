"""Nothing is fetched, sent or committed in the wrong phase of a rebalance."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.types import TP

from saga_app.stream import Outputs, Table, Transport
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
    made = Transport.install(app)
    app.consumer_generation_id = 1
    Table(app, name="rows", partitions=4)
    made.rows = BatchingProducer("nowhere:1", 4.0, producer=FakeProducer)
    yield made
    await made.rows.close()


@pytest.fixture
async def consumer(transport: Transport) -> Consumer:
    """A consumer that has two partitions, and a broker that says yes to everything; it takes the loop it is made in."""

    async def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    made = Consumer(transport, nothing, nothing, nothing)

    async def committed() -> dict[TP, int]:
        return {IN: 0}

    made.seek_to_committed = committed  # type: ignore[method-assign, assignment]
    return made


async def assigned(consumer: Consumer) -> None:
    await consumer.on_partitions_assigned({IN, CHANGELOG}, 1)


async def streaming(consumer: Consumer) -> None:
    await assigned(consumer)
    await consumer.perform_seek()
    consumer.resume_flow()


async def test_before_the_seek_only_changelogs_are_fetched_and_streams_only_after_the_resume_that_follows_it(
    consumer: Consumer,
) -> None:
    assert consumer.fetchable() == frozenset()
    await assigned(consumer)
    consumer.resume_flow()
    assert consumer.fetchable() == {CHANGELOG}
    await consumer.perform_seek()
    assert consumer.fetchable() == {CHANGELOG}, "the queues of the agents are not yet cleared"
    consumer.resume_flow()
    assert consumer.fetchable() == {IN, CHANGELOG}


async def test_a_rebalance_that_begins_during_the_seek_of_the_last_one_is_not_overlooked(consumer: Consumer) -> None:
    await assigned(consumer)

    async def slow() -> dict[TP, int]:
        await consumer.on_partitions_revoked({IN, CHANGELOG})
        return {}

    consumer.seek_to_committed = slow  # type: ignore[method-assign, assignment]
    await consumer.perform_seek()
    consumer.resume_flow()
    assert consumer.phase is Phase.REVOKED
    assert consumer.fetchable() == frozenset()


async def test_what_was_taken_before_a_seek_counts_for_nothing(consumer: Consumer) -> None:
    await streaming(consumer)
    made = consumer.ledger.add(batch([0, 1]))
    await consumer.perform_seek()
    assert (made.live, consumer.ledger.inflight) == (False, 0)


async def test_rows_that_the_drain_has_not_waited_for_are_not_let_out_under_the_next_assignment(
    consumer: Consumer, transport: Transport
) -> None:
    await streaming(consumer)
    outputs = Outputs(transport.rows)
    outputs.send("rows", b"k", b"v")
    await consumer.on_partitions_revoked({IN, CHANGELOG})
    await assigned(consumer)
    with pytest.raises(Exception, match="_PURGE_QUEUE"):
        await outputs.acknowledged()
    producer: Any = transport.rows._main.producer
    assert not producer.taken


async def test_a_new_assignment_is_a_new_lease(consumer: Consumer, transport: Transport) -> None:
    transport.lease.membership_lost = True
    await assigned(consumer)
    assert transport.lease.holds()


async def test_a_fetched_run_is_one_message_and_a_changelog_goes_straight_to_its_table(consumer: Consumer) -> None:
    await streaming(consumer)
    run = [record(offset) for offset in range(5)]
    fetched = {IN: run, CHANGELOG: run}

    async def getmany(active: Any, timeout: float) -> dict[TP, Any]:
        return fetched

    consumer.fetch_records = getmany  # type: ignore[method-assign, assignment]
    messages = {tp: message async for tp, message in consumer.getmany(0.1)}
    assert messages[IN].records == run
    assert messages[CHANGELOG].offset == 4
    assert consumer.ledger.inflight == 5
    table: Any = consumer.table_of(CHANGELOG)
    assert table.read(0, b"k") == b"v"


async def test_a_delivery_that_need_not_wait_takes_no_task(consumer: Consumer) -> None:
    tasks: list[int] = []

    async def deliver() -> str:
        tasks.append(len(asyncio.all_tasks()))
        return "delivered"

    asked = await consumer.wait_first(deliver(), asyncio.Event().wait())
    assert (asked.results, asked.stopped, tasks) == (["delivered"], False, [1])


async def test_a_delivery_that_has_to_wait_does_so_until_it_is_over_or_the_flow_is_suspended(
    consumer: Consumer,
) -> None:
    flowing, suspended = asyncio.Event(), asyncio.Event()

    async def deliver() -> str:
        await flowing.wait()
        return "delivered"

    loop = asyncio.get_running_loop()
    loop.call_later(0.01, flowing.set)
    assert (await consumer.wait_first(deliver(), suspended.wait())).results == ["delivered"]
    flowing.clear()
    loop.call_later(0.01, suspended.set)
    assert (await consumer.wait_first(deliver(), suspended.wait())).results == [True]


async def test_nothing_is_waited_for_when_the_consumer_has_stopped(consumer: Consumer) -> None:
    consumer._stopped.set()
    assert (await consumer.wait_first(asyncio.Event().wait())).stopped


async def test_what_was_fetched_before_partitions_are_taken_away_is_not_handed_out_any_more(
    consumer: Consumer,
) -> None:
    await streaming(consumer)

    async def getmany(active: Any, timeout: float) -> dict[TP, Any]:
        return {IN: [record(0)], TP("in", 1): [record(0)]}

    consumer.fetch_records = getmany  # type: ignore[method-assign, assignment]
    seen = []
    async for tp, _ in consumer.getmany(0.1):
        seen.append(tp)
        consumer.app.consumer_generation_id = 2
    assert seen == [IN]
    assert consumer.ledger.inflight == 1


class SlowFetcher:
    """librdkafka's, while whose fetch something happens."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.skipped = {IN: (9, 12)}

    def take_skipped(self) -> dict[TP, tuple[int, int]]:
        skipped, self.skipped = self.skipped, {}
        return skipped

    def forget_skipped(self, tp: TP) -> None:
        self.skipped.pop(tp, None)

    async def fetch(self, states: Any, timeout_s: float, most: int) -> dict[TP, list[Any]]:
        self.meanwhile()
        return {tp: [record(7)] for tp in states}


@pytest.mark.parametrize("still_ours", [True, False])
async def test_what_was_fetched_under_an_assignment_that_is_over_is_dropped_and_moves_no_position_of_the_next(
    consumer: Consumer, still_ours: bool
) -> None:
    """Put back, a partition that went away crashed the worker, and one that stayed could begin too late."""
    await streaming(consumer)
    partitions = SubscriptionState()
    partitions.subscribe({IN.topic})
    partitions.assign_from_subscribed({IN})
    client: Any = FakeClient()
    client._closed, client._subscription = False, partitions
    thread: Any = consumer.new_thread()
    thread.fetcher = SlowFetcher(lambda: partitions.assign_from_subscribed({IN} if still_ours else set()))
    assert await thread.fetch(client, {IN}, 0.1, None) == {}
    assert client.sought == {}
    assert thread.take_skipped() == {}, "what follows it is not skipped either"


class FakeClient:
    """aiokafka's consumer; notes where it was sent."""

    def __init__(self) -> None:
        self.sought: dict[TP, int] = {}

    def seek(self, tp: TP, offset: int) -> None:
        self.sought[tp] = offset


async def test_what_arrives_too_late_is_put_back_where_it_was_taken(consumer: Consumer) -> None:
    """Without a committed offset no later seek would bring it back."""
    await assigned(consumer)
    client: Any = FakeClient()
    records = {IN: [record(7), record(8)], CHANGELOG: [record(3)]}
    thread = consumer.new_thread()
    thread.fetcher = SlowFetcher()  # type: ignore[assignment]
    thread._put_back(client, records)
    assert client.sought == {IN: 7}
    assert thread.take_skipped() == {}, "what follows it is not skipped either"
    assert list(records) == [CHANGELOG], "the streams must wait, the changelog not"


class Broker:
    """The consumer, as far as commits look at it."""

    def __init__(self) -> None:
        self.ledger = Ledger(100)
        self.app = SimpleNamespace(monitor=SimpleNamespace(on_tp_commit=lambda offsets: None))
        self.thread = SimpleNamespace(should_stop=False)
        self.answers = True
        self.asked: list[dict[TP, int]] = []

    def assignment(self) -> set[TP]:
        return {IN}

    async def commit_offsets(self, offsets: dict[TP, int]) -> bool:
        self.asked.append(offsets)
        return self.answers


async def test_what_is_finished_is_committed_once_and_what_failed_to_commit_again() -> None:
    broker = Broker()
    commits = Commits(broker)
    broker.ledger.add(batch([0, 1])).finish(0)
    broker.answers = False
    assert not await commits.commit()
    broker.answers = True
    assert await commits.commit()
    assert not await commits.commit()
    assert broker.asked == [{IN: 1}, {IN: 1}]


async def test_partitions_that_went_away_are_not_committed() -> None:
    broker = Broker()
    finish_all(broker.ledger.add(batch([0], partition=3)))
    assert not await Commits(broker).commit()
    assert broker.asked == []


async def test_a_drain_waits_for_work_and_cancels_what_takes_too_long() -> None:
    broker = Broker()
    quick, slow = broker.ledger.add(batch([0])), broker.ledger.add(batch([1]))

    async def work(seconds: float, made: Any) -> None:
        await asyncio.sleep(seconds)
        finish_all(made)

    quick.begin(asyncio.create_task(work(0.02, quick)))
    slow.begin(late := asyncio.create_task(work(60, slow)))
    await Commits(broker).drain(0.1)
    assert late.cancelled()
    assert broker.asked == [{IN: 1}]
    assert [quick.open, slow.open] == [False, False], "nothing more of them is begun"


async def test_after_a_crash_nothing_is_waited_for() -> None:
    broker = Broker()
    broker.thread.should_stop = True
    made = broker.ledger.add(batch([0]))
    made.begin(late := asyncio.create_task(asyncio.sleep(60)))
    async with asyncio.timeout(1):
        await Commits(broker).drain(60)
    assert late.cancelled()


@pytest.mark.field(29, 34)
async def test_a_recovery_starts_over_where_a_table_is_ahead_of_its_changelog(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ends(*_partitions: TP) -> dict[TP, int]:
        return {CHANGELOG: 17}

    monkeypatch.setattr(consumer.thread, "highwaters", ends)
    tables: Any = consumer.app.tables
    table = tables["rows"]
    table.store.apply(0, [(b"k", b"v")], 41)
    tables.recovery.active_offsets[CHANGELOG] = 41
    await streaming(consumer)
    await consumer.highwaters(CHANGELOG)
    assert table.read(0, b"k") == b"v", "nobody but a recovery asks for that"
    await assigned(consumer)
    await consumer.highwaters(CHANGELOG)
    assert (table.read(0, b"k"), tables.recovery.active_offsets[CHANGELOG]) == (None, NO_OFFSET)


@pytest.mark.field(34)
async def test_a_topic_that_begins_again_is_not_taken_for_what_was_read_before(
    consumer: Consumer, now: Callable[[str], None]
) -> None:
    await streaming(consumer)

    async def getmany(active: Any, timeout: float) -> dict[TP, Any]:
        return {IN: [record(0)]}

    consumer.fetch_records = getmany  # type: ignore[method-assign, assignment]
    consumer._read_offset[IN] = 500
    async for tp, _message in consumer.getmany(0.1):
        assert consumer._read_offset[tp] is None, "Faust drops what is below"
    now("a recreated topic is read from its beginning")


@pytest.mark.field(35)
@pytest.mark.parametrize("run", [[], [7, 8]])
async def test_what_is_not_delivered_at_the_end_of_a_partition_is_passed_after_its_batch(
    consumer: Consumer, run: list[int]
) -> None:
    await streaming(consumer)
    fetched = {IN: [record(offset) for offset in run]} if run else {}

    async def getmany(active: Any, timeout: float) -> dict[TP, Any]:
        return fetched

    consumer.fetch_records = getmany  # type: ignore[method-assign, assignment]
    consumer.thread.fetcher = SlowFetcher()  # type: ignore[assignment]
    batches = [message async for _, message in consumer.getmany(0.1)]
    assert consumer.ledger.committable() == ({} if run else {IN: 12})
    for made in batches:
        finish_all(made)
    assert consumer.ledger.committable() == {IN: 12}
