"""Tests of `saga_app.stream.upstream.faust` on Faust's own objects, without Kafka.

The last section tests behaviour of Faust that this project relies on without using a private name.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.protocol.metadata import MetadataResponse_v1
from faust.types import TP
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from saga_app.stream import Assignor, Table, Transport
from saga_app.stream.consume.consumer import Consumer
from saga_app.stream.upstream.faust import (
    ConsumerThreadHooks,
    ProducerHooks,
    TableHooks,
    changelog_table,
    is_next_event_current,
    use_web_runner,
)
from tests.fakes.stream import make_table, record

IN = TP("in", 0)


@pytest.fixture
def app(tmp_path: Path) -> faust.App:
    """An app with this project's transport, in its first generation; it is not started."""
    app = faust.App("unit", broker="kafka://127.0.0.1:1", store="memory://", datadir=str(tmp_path))
    Transport.install(app)
    app.consumer_generation_id = 1
    return app


@pytest.fixture
def transport(app: faust.App) -> Transport:
    return cast(Transport, app.transport)


async def do_nothing(*args: Any, **kwargs: Any) -> None:
    return None


@pytest.fixture
async def consumer(transport: Transport) -> Consumer:
    return Consumer(transport, do_nothing, do_nothing, do_nothing)


# -- consumer, thread, producer


async def test_the_consumer_delegates_to_the_thread_that_it_creates(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    async def getmany(partitions: set[TP], timeout: float) -> dict[TP, list[Any]]:
        calls.append((partitions, timeout))
        return {IN: []}

    async def commit(offsets: dict[TP, int]) -> bool:
        calls.append(offsets)
        return True

    monkeypatch.setattr(consumer.thread, "getmany", getmany)
    monkeypatch.setattr(consumer.thread, "commit", commit)
    assert await consumer.fetch_records({IN}, 0.5) == {IN: []}
    assert await consumer.commit_offsets({IN: 3})
    assert calls == [({IN}, 0.5), {IN: 3}]


async def test_assigned_partitions_are_readable_unless_paused(consumer: Consumer) -> None:
    consumer.transport.rows = SimpleNamespace(purge=lambda: None)  # type: ignore[assignment]
    other = TP("in", 1)
    await consumer.on_partitions_assigned({IN, other}, 1)
    assert consumer.readable_partitions == {IN, other}
    consumer.pause_partitions({other})
    assert consumer.readable_partitions == {IN}
    await consumer.on_partitions_revoked({IN})
    assert consumer.readable_partitions == set()


@pytest.mark.parametrize("accepted", [True, False])
async def test_messages_with_lower_offsets_are_delivered_if_accepted(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    """Offsets of a recreated topic start at 0; without `accept_lower_offsets` Faust drops its records."""
    delivered_offsets: list[int] = []

    async def deliver(message: Any) -> None:
        delivered_offsets.append(message.offset)

    consumer = Consumer(transport, deliver, do_nothing, do_nothing)
    service: Any = SimpleNamespace(_stopped=asyncio.Event())

    async def getmany(timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        for offset in (500, 0):
            if accepted:
                consumer.accept_lower_offsets(IN)
            yield IN, SimpleNamespace(topic="in", offset=offset, key=None, value=None)
        service._stopped.set()

    monkeypatch.setattr(consumer, "getmany", getmany)
    await asyncio.wait_for(consumer._drain_messages(service), 5)
    assert delivered_offsets == ([500, 0] if accepted else [500])


async def test_stop_tracking_removes_a_message_from_the_unacked(consumer: Consumer) -> None:
    message = consumer.to_message(IN, record(7))
    assert (message.topic, message.partition, message.offset, message.value) == ("in", 0, 7, b"v")
    consumer.track_message(message)
    assert message in consumer.unacked
    consumer.stop_tracking(message)
    assert message not in consumer.unacked


async def test_the_thread_fetches_through_the_fetch_hook(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    async def fetch(client: Any, partitions: Any, timeout_s: Any, max_records: Any) -> dict[TP, list[Any]]:
        calls.append((partitions, timeout_s, max_records))
        return {}

    async def call_directly(method: Any, *arguments: Any, **named: Any) -> Any:
        return await method(*arguments, **named)

    thread = consumer.thread
    monkeypatch.setattr(thread, "fetch", fetch)
    monkeypatch.setattr(thread, "call_thread", call_directly)
    monkeypatch.setattr(thread, "_consumer", AIOKafkaConsumer(max_poll_records=9))
    await thread.getmany({IN}, 0.5)
    assert calls == [({IN}, 0.5, 9)]


async def test_a_started_thread_exposes_the_consumer_of_aiokafka(
    consumer: Consumer, reader: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread: Any = ConsumerThreadHooks(consumer, loop=consumer.loop, beacon=consumer.beacon)
    assert thread.aiokafka_consumer is None
    monkeypatch.setattr(reader, "start", do_nothing)
    monkeypatch.setattr(thread, "_create_consumer", lambda **_: reader)
    await thread.on_start()
    assert thread.aiokafka_consumer is reader


async def test_a_started_producer_has_a_network_client(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaProducer, "start", do_nothing)
    producer = ProducerHooks(transport)
    await producer.on_start()
    assert isinstance(producer.network_client, AIOKafkaClient)


# -- assignor


def cluster(**partition_counts: int) -> ClusterMetadata:
    """Metadata of a cluster of one broker, with these topics and partition counts."""
    metadata = ClusterMetadata()
    topics = [
        (0, name, False, [(0, number, 1, [1], [1]) for number in range(count)])
        for name, count in partition_counts.items()
    ]
    metadata.update_metadata(MetadataResponse_v1([(1, "127.0.0.1", 9092, None)], 1, topics))
    return metadata


@pytest.mark.parametrize("notified_partitions", [12, 24])
def test_surplus_partitions_are_assigned_with_those_in_use(
    app: faust.App, transport: Transport, notified_partitions: int
) -> None:
    """Keys use 12 partitions; partition 12 + n of any topic goes to the worker that has partition n."""
    transport.partitions = 12
    workers = {name: Assignor(app, replicas=0) for name in ("worker-1", "worker-2")}
    for _round in range(2):  # the second round starts from the assignment of the first
        members = {name: worker.metadata({"new-user", "notified"}) for name, worker in workers.items()}
        assignments = workers["worker-1"].assign(cluster(**{"new-user": 24, "notified": notified_partitions}), members)
        by_worker = {name: dict(assignment.assignment) for name, assignment in assignments.items()}
        for topics in by_worker.values():
            assert {p % 12 for p in topics["new-user"]} == {p % 12 for p in topics["notified"]}
        assert sorted(p for topics in by_worker.values() for p in topics["new-user"]) == list(range(24))
        assert sorted(p for topics in by_worker.values() for p in topics["notified"]) == list(
            range(notified_partitions)
        )
        for name, assignment in assignments.items():
            workers[name].on_assignment(assignment)


def test_surplus_partitions_of_changelogs_are_not_assigned(app: faust.App, transport: Transport) -> None:
    transport.partitions = 12
    Table(app, name="rows", partitions=12)
    assignor = Assignor(app, replicas=0)
    assert assignor.changelog_topics == {"unit-rows-changelog"}
    surplus: Any = {"unit-rows-changelog": [12], "new-user": [12]}
    assignor._surplus = surplus
    assignment: Any = SimpleNamespace(actives={"unit-rows-changelog": [0], "new-user": [0]})
    assignor.adjust_assignments({"worker": assignment})
    assert assignment.actives == {"unit-rows-changelog": [0], "new-user": [0, 12]}


# -- tables, streams, web


def test_a_table_uses_the_store_of_the_new_store_hook(tmp_path: Path) -> None:
    class TableWithOwnStore(TableHooks):
        def new_store(self, url: Any) -> Any:
            return "ours", url.scheme

    app = make_table(tmp_path).app
    store: Any = TableWithOwnStore(app, name="own").data
    assert store == ("ours", "memory")


def test_a_table_is_found_by_its_changelog(tmp_path: Path) -> None:
    table = make_table(tmp_path)
    assert changelog_table(table.app, "unit-rows-changelog") is table
    assert changelog_table(table.app, "rows") is None


async def test_dbs_are_the_databases_that_faust_has_open(tmp_path: Path) -> None:
    changelog = TP("unit-rows-changelog", 3)
    store: Any = make_table(tmp_path, "rocksdb://").store
    opened: list[int] = []
    open_partition = store.open_partition

    def open_and_count(partition: int) -> Any:
        opened.append(partition)
        return open_partition(partition)

    store.open_partition = open_and_count
    assert dict(store.dbs) == {}
    first = store.db_for_partition(3)
    store.set_persisted_offset(changelog, 5)  # Faust's method, which uses the same database
    assert (opened, store.db_for_partition(3) is first, dict(store.dbs)) == ([3], True, {3: first})
    store.close_partition(3)
    assert dict(store.dbs) == {}
    assert store.persisted_offset(changelog) == 5
    assert opened == [3, 3]
    await store.on_rebalance(set(), {changelog}, set())
    assert dict(store.dbs) == {}, "Faust has replaced its dictionary instead of changing it"


def test_the_next_event_is_current_unless_faust_has_to_handle_it() -> None:
    flow = FlowControlEvent(initially_suspended=False)
    app = SimpleNamespace(flow_control=flow, consumer_generation_id=2)
    queue = ThrowableQueue[Any](flow_control=flow)
    queue.put_nowait(SimpleNamespace(message=SimpleNamespace(generation_id=2)))
    assert is_next_event_current(app, queue)
    flow.suspend()
    assert not is_next_event_current(app, queue)
    flow.resume()
    queue.put_nowait(SimpleNamespace(message=SimpleNamespace(generation_id=2)))
    app.consumer_generation_id = 3
    assert not is_next_event_current(app, queue), "an event of the previous assignment counted as current"
    app.consumer_generation_id = 2
    queue._throw(ValueError("raised by the stream"))
    assert not is_next_event_current(app, queue)


async def test_the_web_server_of_faust_uses_the_given_runner(app: faust.App) -> None:
    class RunnerUsed(Exception):
        """Raised by the runner, so that no server starts."""

    async def setup() -> None:
        raise RunnerUsed

    server: Any = app.web
    use_web_runner(server, SimpleNamespace(setup=setup))
    with pytest.raises(RunnerUsed):
        await server.start_server()


# -- behaviour that is relied on without a private name


async def test_faust_passes_the_instance_id_to_aiokafka(app: faust.App, transport: Transport) -> None:
    app.conf.consumer_group_instance_id = "notifier-1"
    thread: Any = Consumer(transport, do_nothing, do_nothing, do_nothing).thread
    client = thread._create_consumer(loop=asyncio.get_running_loop())
    assert client._group_instance_id == "notifier-1"


@pytest.mark.parametrize("step", ["_resume_streams", "on_recovery_completed"])
async def test_a_recovery_seeks_before_it_resumes_the_flow(
    app: faust.App, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """`Phase` relies on this order: after the seek the streams may be read."""
    calls: list[str] = []

    async def perform_seek() -> None:
        calls.append("seek")

    consumer: Any = SimpleNamespace(
        assignment=lambda: {IN},
        resume_partitions=lambda tps: None,
        perform_seek=perform_seek,
        resume_flow=lambda: calls.append("resume"),
    )
    app.consumer = consumer
    monkeypatch.setattr(app, "_fetcher", SimpleNamespace(maybe_start=do_nothing), raising=False)
    monkeypatch.setattr(app, "on_rebalance_end", lambda: None)
    tables: Any = app.tables
    await getattr(tables.recovery, step)(1)
    assert calls == ["seek", "resume"]
