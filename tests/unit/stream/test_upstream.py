"""What upstream changes in Faust, aiokafka, aiohttp and librdkafka has its effect: on real objects, without Kafka."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from time import monotonic
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.commit import OffsetCommitRequest_v2
from aiokafka.protocol.coordination import FindCoordinatorRequest_v0
from aiokafka.protocol.fetch import FetchRequest_v4
from aiokafka.protocol.group import HeartbeatRequest_v0, JoinGroupRequest_v1, LeaveGroupRequest_v0, SyncGroupRequest_v0
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.protocol.offset import OffsetRequest_v1
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from saga_app.stream import Assignor, Table, Transport
from saga_app.stream.consume.consumer import Consumer
from saga_app.stream.upstream import aiokafka as for_aiokafka
from saga_app.stream.upstream import faust as for_faust
from saga_app.stream.upstream.aiohttp import AppRunnerHooks
from saga_app.stream.upstream.librdkafka import headers_of, murmur2_partitioner
from tests.fakes.broker import NOT_A_MEMBER, NOT_AUTHORIZED, REBALANCING, FakeBroker, consumer_in_group, record_batch
from tests.fakes.stream import make_table, record, until

IN = TopicPartition("in", 0)


@pytest.fixture
async def member(broker: FakeBroker) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has joined a group."""
    async with consumer_in_group(broker) as made:
        yield made


@pytest.fixture
async def reader(broker: FakeBroker) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, which reads nothing yet."""
    made = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=10)
    await made.start()
    yield made
    await made.stop()


# -- aiokafka: clients


async def test_consumers_and_admin_clients_have_a_network_client(reader: AIOKafkaConsumer, broker: FakeBroker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    for owner in (reader, admin):
        assert [node.port for node in for_aiokafka.network_client(owner).cluster.brokers()] == [broker.port]
    await admin.close()


async def test_a_failed_metadata_update_is_followed_by_a_pause() -> None:
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    for_aiokafka.pause_after_failed_metadata_update(client, 0.05)
    began = monotonic()
    with pytest.raises(KafkaError):
        await client.fetch_all_metadata()
    assert monotonic() - began >= 0.05
    await client.close()


async def test_a_successful_metadata_update_is_not_delayed(reader: AIOKafkaConsumer) -> None:
    client = for_aiokafka.network_client(reader)
    for_aiokafka.pause_after_failed_metadata_update(client, 60)
    assert await asyncio.wait_for(client.force_metadata_update(), 5)


# -- aiokafka: positions and fetching


async def test_the_subscription_has_assignment_and_positions(reader: AIOKafkaConsumer) -> None:
    reader.assign([IN])
    reader.seek(IN, 5)
    state = for_aiokafka.subscription_state(reader)
    assert not state.reassignment_in_progress
    assert state.subscription.assignment.tps == {IN}
    with state.fetch_context():
        assert state.subscription.assignment.state_value(IN).position == 5


async def test_a_stopped_consumer_is_closed(broker: FakeBroker) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap)
    await consumer.start()
    assert not for_aiokafka.is_closed(consumer)
    await asyncio.sleep(0)  # aiokafka's stop fails before its tasks have begun
    await consumer.stop()
    assert for_aiokafka.is_closed(consumer)


async def test_a_consumer_that_fetches_nothing_still_resets_positions(
    reader: AIOKafkaConsumer, broker: FakeBroker
) -> None:
    for_aiokafka.disable_fetching(reader)
    reader.assign([IN])
    assert await asyncio.wait_for(reader.position(IN), 5) == 0
    await asyncio.sleep(0.1)
    assert broker.received(OffsetRequest_v1)
    assert not broker.received(FetchRequest_v4)


async def test_fetch_requests_wait_for_what_was_set_last(reader: AIOKafkaConsumer, broker: FakeBroker) -> None:
    reader.assign([IN])
    await until(lambda: broker.received(FetchRequest_v4))
    for_aiokafka.set_fetch_wait(reader, 12_345, 67)
    await until(
        lambda: [
            each.request
            for each in broker.received(FetchRequest_v4)
            if (each.request.min_bytes, each.request.max_wait_time) == (12_345, 67)
        ]
    )


@pytest.mark.parametrize("disabled", [False, True])
async def test_a_partition_is_fetched_again_while_another_one_is_unread(
    reader: AIOKafkaConsumer, broker: FakeBroker, disabled: bool
) -> None:
    """By default only after 0.1 s: the first case shows that there is something to disable."""
    if disabled:
        for_aiokafka.disable_prefetch_backoff(reader)
    other, pauses = TopicPartition("in", 1), list[float]()
    reader.assign([IN, other])
    for offset in range(5):
        broker.fetched = {number: record_batch(b"value", first=offset) for number in (0, 1)}
        while not await reader.getmany(IN, timeout_ms=100):
            pass
        read_at = monotonic()
        again = await until(lambda since=read_at: [r for r in broker.received(FetchRequest_v4) if r.at > since])
        pauses.append(again[0].at - read_at)
        while not await reader.getmany(other, timeout_ms=100):
            pass
    assert (median(pauses) < 0.05) is disabled, pauses


# -- aiokafka: group membership


async def test_only_a_started_member_of_a_group_has_a_coordinator(
    member: AIOKafkaConsumer, reader: AIOKafkaConsumer
) -> None:
    assert for_aiokafka.group_coordinator(member).generation == 7
    assert for_aiokafka.group_coordinator(reader) is None
    assert for_aiokafka.group_coordinator(AIOKafkaConsumer(group_id="group")) is None
    assert for_aiokafka.group_coordinator(None) is None


async def test_an_error_that_aiokafka_stores_is_found(broker: FakeBroker) -> None:
    broker.errors[FindCoordinatorRequest_v0] = NOT_AUTHORIZED
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="group")
    await consumer.start()
    coordinator = for_aiokafka.group_coordinator(consumer)
    assert for_aiokafka.coordinator_failure(coordinator) is None
    consumer.subscribe(["in"])
    error = await until(lambda: for_aiokafka.coordinator_failure(coordinator))
    assert type(error).__name__ == "GroupAuthorizationFailedError"
    await consumer.stop()
    assert for_aiokafka.coordinator_failure(coordinator) is None, "it is closing"


async def test_the_end_of_the_coordination_task_is_found(
    member: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = for_aiokafka.group_coordinator(member)
    monkeypatch.setattr(coordinator, "need_rejoin", lambda _subscription: 1 / 0)
    coordinator.request_rejoin()
    error = await until(lambda: for_aiokafka.coordinator_failure(coordinator))
    assert "coordination task ended" in str(error)


@pytest.mark.parametrize(("code", "acknowledged"), [(0, True), (REBALANCING, True), (NOT_A_MEMBER, False)])
async def test_heartbeats_pass_through_the_wrapper(
    member: AIOKafkaConsumer, broker: FakeBroker, code: int, acknowledged: bool
) -> None:
    seen: list[bool] = []

    async def wrapper(send: for_aiokafka.SendHeartbeat) -> bool:
        before = len(broker.received(HeartbeatRequest_v0))
        seen.append(await send())
        assert len(broker.received(HeartbeatRequest_v0)) > before, "sent by send()"
        return seen[-1]

    broker.errors[HeartbeatRequest_v0] = code
    for_aiokafka.wrap_heartbeat(for_aiokafka.group_coordinator(member), wrapper)
    await until(lambda: seen)
    assert seen[0] is acknowledged


@pytest.mark.parametrize("request_type", [HeartbeatRequest_v0, OffsetCommitRequest_v2])
async def test_a_lost_membership_is_reported_before_it_is_forgotten(
    member: AIOKafkaConsumer, broker: FakeBroker, request_type: type
) -> None:
    coordinator = for_aiokafka.group_coordinator(member)
    members: list[str] = []
    for_aiokafka.on_membership_lost(coordinator, lambda: members.append(coordinator.member_id))
    broker.errors[request_type] = NOT_A_MEMBER
    if request_type is OffsetCommitRequest_v2:
        with pytest.raises(KafkaError):
            await member.commit({IN: 1})
    await until(lambda: members)
    assert members[0] == "member"
    broker.errors.clear()
    await until(lambda: coordinator.member_id == "member")  # it joins again


async def test_an_unanswered_heartbeat_fails_when_its_connection_is_closed(
    member: AIOKafkaConsumer, broker: FakeBroker
) -> None:
    coordinator = for_aiokafka.group_coordinator(member)
    results: list[bool] = []

    async def wrapper(send: for_aiokafka.SendHeartbeat) -> bool:
        results.append(await send())
        return results[-1]

    broker.silent.add(HeartbeatRequest_v0)
    before = len(broker.received(HeartbeatRequest_v0))
    for_aiokafka.wrap_heartbeat(coordinator, wrapper)
    await until(lambda: len(broker.received(HeartbeatRequest_v0)) > before)
    await asyncio.sleep(0.05)
    results.clear()
    connections = broker.connections
    for_aiokafka.coordinator_connection(coordinator).close()
    await until(lambda: False in results)
    broker.silent.clear()
    await until(lambda: True in results)
    assert broker.connections > connections, "the next one is sent on a new connection"


async def test_without_a_connection_there_is_none(broker: FakeBroker) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="group")
    await consumer.start()
    assert for_aiokafka.coordinator_connection(for_aiokafka.group_coordinator(consumer)) is None
    await consumer.stop()


async def test_a_leader_waits_before_it_sends_the_assignment(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Restored after the test, because the whole process is changed.
    original = CoordinatorGroupRebalance._on_join_leader
    monkeypatch.setattr(CoordinatorGroupRebalance, "_on_join_leader", original)
    for_aiokafka.delay_leader_sync(0.1)
    for_aiokafka.delay_leader_sync(60)  # the first call counts
    consumer = AIOKafkaConsumer("in", bootstrap_servers=broker.bootstrap, group_id="group")
    await asyncio.wait_for(consumer.start(), 10)
    (join,), (sync,) = broker.received(JoinGroupRequest_v1), broker.received(SyncGroupRequest_v0)
    assert sync.at - join.at >= 0.1
    await consumer.stop()


# -- aiokafka: record batches


@pytest.mark.parametrize("compression", [0, 1])
def test_a_raw_batch_decodes_what_its_buffer_holds(compression: int) -> None:
    raw = for_aiokafka.raw_batch(record_batch(b"one", b"two", compression=compression))
    assert raw.record_count == 2
    at = raw.buffer.index(b"two", raw.first_position)
    raw.buffer[at : at + 3] = b"2nd"
    assert [record.value for record in raw.records] == [b"one", b"2nd"]


async def test_consumers_read_batches_with_the_reader(
    reader: AIOKafkaConsumer, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)  # restored after the test
    sizes: list[int] = []

    def read(data: bytes) -> MemoryRecords:
        sizes.append(len(data))
        return MemoryRecords(data)

    for_aiokafka.read_batches_with(read)
    broker.fetched[0] = data = record_batch(b"one")
    reader.assign([IN])
    assert (await asyncio.wait_for(reader.getone(), 5)).value == b"one"
    assert len(data) in sizes


# -- Faust: consumer, thread, producer


@pytest.fixture
def app(tmp_path: Path) -> faust.App:
    made = faust.App("unit", broker="kafka://127.0.0.1:1", store="memory://", datadir=str(tmp_path))
    Transport.install(made)
    made.consumer_generation_id = 1
    return made


async def nothing(*args: Any, **kwargs: Any) -> None:
    return None


@pytest.fixture
async def consumer(app: faust.App) -> Consumer:
    return Consumer(app.transport, nothing, nothing, nothing)


async def test_the_consumer_uses_the_thread_that_we_create(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    tp, calls = TP("in", 0), list[Any]()

    async def getmany(partitions: set[TP], timeout: float) -> dict[TP, list[Any]]:
        calls.append((partitions, timeout))
        return {tp: []}

    async def commit(offsets: dict[TP, int]) -> bool:
        calls.append(offsets)
        return True

    monkeypatch.setattr(consumer.thread, "getmany", getmany)
    monkeypatch.setattr(consumer.thread, "commit", commit)
    assert await consumer.fetch_records({tp}, 0.5) == {tp: []}
    assert await consumer.commit_offsets({tp: 3})
    assert calls == [({tp}, 0.5), {tp: 3}]


async def test_assigned_partitions_are_readable_unless_they_are_paused(consumer: Consumer) -> None:
    consumer.transport.rows = SimpleNamespace(purge=lambda: None)  # type: ignore[assignment]
    one, other = TP("in", 0), TP("in", 1)
    await consumer.on_partitions_assigned({one, other}, 1)
    assert consumer.readable_partitions == {one, other}
    consumer.pause_partitions({other})
    assert consumer.readable_partitions == {one}
    await consumer.on_partitions_revoked({one})
    assert consumer.readable_partitions == set()


@pytest.mark.parametrize("accepted", [True, False])
async def test_messages_with_lower_offsets_are_delivered_if_they_are_accepted(
    app: faust.App, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    """A topic that was recreated starts at 0 again; without the call Faust drops its records."""
    delivered: list[int] = []

    async def deliver(message: Any) -> None:
        delivered.append(message.offset)

    consumer = Consumer(app.transport, deliver, nothing, nothing)
    service: Any = SimpleNamespace(_stopped=asyncio.Event())

    async def getmany(timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        for offset in (500, 0):
            if accepted:
                consumer.accept_lower_offsets(TP("in", 0))
            yield TP("in", 0), SimpleNamespace(topic="in", offset=offset, key=None, value=None)
        service._stopped.set()

    monkeypatch.setattr(consumer, "getmany", getmany)
    await asyncio.wait_for(consumer._drain_messages(service), 5)
    assert delivered == ([500, 0] if accepted else [500])


async def test_a_message_that_is_not_tracked_any_more_is_not_waited_for(consumer: Consumer) -> None:
    message = consumer.to_message(TP("in", 0), record(7))
    assert (message.topic, message.partition, message.offset, message.value) == ("in", 0, 7, b"v")
    consumer.track_message(message)
    assert message in consumer.unacked
    consumer.stop_tracking(message)
    assert message not in consumer.unacked


async def test_faust_fetches_through_our_hook(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def fetch(client: Any, partitions: Any, timeout_s: Any, max_records: Any) -> dict[TP, list[Any]]:
        asked.append((partitions, timeout_s, max_records))
        return {}

    async def call(method: Any, *arguments: Any, **named: Any) -> Any:
        return await method(*arguments, **named)  # in this thread

    thread = consumer.thread
    monkeypatch.setattr(thread, "fetch", fetch)
    monkeypatch.setattr(thread, "call_thread", call)
    monkeypatch.setattr(thread, "_consumer", AIOKafkaConsumer(max_poll_records=9))
    tp = TP("in", 0)
    await thread.getmany({tp}, 0.5)
    assert asked == [({tp}, 0.5, 9)]


async def test_the_thread_has_aiokafkas_consumer_once_it_has_started(
    consumer: Consumer, reader: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread: Any = for_faust.ConsumerThreadHooks(consumer, loop=consumer.loop, beacon=consumer.beacon)
    assert thread.aiokafka_consumer is None
    monkeypatch.setattr(reader, "start", nothing)
    monkeypatch.setattr(thread, "_create_consumer", lambda **_: reader)
    await thread.on_start()
    assert thread.aiokafka_consumer is reader


async def test_a_started_producer_has_a_network_client(app: faust.App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaProducer, "start", nothing)
    producer = for_faust.ProducerHooks(app.transport)
    await producer.on_start()
    assert isinstance(producer.network_client, AIOKafkaClient)


# -- Faust: assignor, tables, streams, web


def cluster(**counts: int) -> ClusterMetadata:
    """A cluster with topics of these numbers of partitions."""
    made = ClusterMetadata()
    topics = [(0, name, False, [(0, n, 1, [1], [1]) for n in range(count)]) for name, count in counts.items()]
    made.update_metadata(MetadataResponse_v1([(1, "127.0.0.1", 9092, None)], 1, topics))
    return made


@pytest.mark.parametrize("other", [12, 24])
def test_surplus_partitions_follow_the_agreed_ones(app: faust.App, other: int) -> None:
    """Topics with up to 24 partitions, of which 12 are used."""
    transport: Any = app.transport
    transport.partitions = 12
    workers = {name: Assignor(app, replicas=0) for name in ("worker-1", "worker-2")}
    for _round in range(2):  # the second one starts from what each worker has had before
        members = {name: worker.metadata({"new-user", "notified"}) for name, worker in workers.items()}
        found = workers["worker-1"].assign(cluster(**{"new-user": 24, "notified": other}), members)
        held = {name: dict(assignment.assignment) for name, assignment in found.items()}
        for topics in held.values():
            assert {p % 12 for p in topics["new-user"]} == {p % 12 for p in topics["notified"]}
        assert sorted(p for topics in held.values() for p in topics["new-user"]) == list(range(24))
        assert sorted(p for topics in held.values() for p in topics["notified"]) == list(range(other))
        for name, assignment in found.items():
            workers[name].on_assignment(assignment)


def test_surplus_partitions_of_changelogs_are_not_assigned(app: faust.App) -> None:
    transport: Any = app.transport
    transport.partitions = 12
    Table(app, name="rows", partitions=12)
    assignor = Assignor(app, replicas=0)
    assert assignor.changelog_topics == {"unit-rows-changelog"}
    surplus: Any = {"unit-rows-changelog": [12], "new-user": [12]}
    assignor._surplus = surplus
    assignment: Any = SimpleNamespace(actives={"unit-rows-changelog": [0], "new-user": [0]})
    assignor.adjust_assignments({"worker": assignment})
    assert assignment.actives == {"unit-rows-changelog": [0], "new-user": [0, 12]}


def test_a_table_has_the_store_that_we_create(tmp_path: Path) -> None:
    class OwnStore(for_faust.TableHooks):
        def new_store(self, url: Any) -> Any:
            return "ours", url.scheme

    app = make_table(tmp_path).app
    assert OwnStore(app, name="own").data == ("ours", "memory")


def test_a_table_is_found_by_its_changelog(tmp_path: Path) -> None:
    table = make_table(tmp_path)
    assert for_faust.changelog_table(table.app, "unit-rows-changelog") is table
    assert for_faust.changelog_table(table.app, "rows") is None


async def test_databases_are_those_that_faust_has_open(tmp_path: Path) -> None:
    store: Any = make_table(tmp_path, "rocksdb://").store
    opened: list[int] = []
    open_partition = store.open_partition
    store.open_partition = lambda partition: opened.append(partition) or open_partition(partition)
    assert dict(store.dbs) == {}
    first = store.db_for_partition(3)
    store.set_persisted_offset(TP("unit-rows-changelog", 3), 5)  # Faust's own access
    assert (opened, store.db_for_partition(3) is first, dict(store.dbs)) == ([3], True, {3: first})
    store.close_partition(3)
    assert dict(store.dbs) == {}
    assert store.persisted_offset(TP("unit-rows-changelog", 3)) == 5
    assert opened == [3, 3]
    await store.on_rebalance(set(), {TP("unit-rows-changelog", 3)}, set())
    assert dict(store.dbs) == {}, "Faust changes its dictionary in place"


def test_the_next_event_is_current_unless_it_is_for_fausts_loop() -> None:
    flow = FlowControlEvent(initially_suspended=False)
    app = SimpleNamespace(flow_control=flow, consumer_generation_id=2)
    queue = ThrowableQueue[Any](flow_control=flow)
    queue.put_nowait(SimpleNamespace(message=SimpleNamespace(generation_id=2)))
    assert for_faust.is_next_event_current(app, queue)
    flow.suspend()
    assert not for_faust.is_next_event_current(app, queue)
    flow.resume()
    queue.put_nowait(SimpleNamespace(message=SimpleNamespace(generation_id=2)))
    app.consumer_generation_id = 3
    assert not for_faust.is_next_event_current(app, queue), "of an assignment that is over"
    app.consumer_generation_id = 2
    queue._throw(ValueError("raised by the stream"))
    assert not for_faust.is_next_event_current(app, queue)


async def test_fausts_web_server_runs_with_our_runner(app: faust.App) -> None:
    class Started(Exception):
        """The runner was used."""

    async def setup() -> None:
        raise Started

    server: Any = app.web
    for_faust.use_web_runner(server, SimpleNamespace(setup=setup))
    with pytest.raises(Started):
        await server.start_server()


# -- aiohttp


async def test_connections_are_of_the_type_of_the_runner() -> None:
    class Connection(web.RequestHandler):
        __slots__ = ()

    seen: list[type] = []

    class Runner(AppRunnerHooks):
        connection_type = Connection

    class Server(TestServer):
        async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
            return Runner(self.app, max_field_size=100, **kwargs)

    async def handler(request: web.Request) -> web.Response:
        seen.append(type(request.protocol))
        return web.Response(text="fine")

    application = web.Application()
    application.router.add_get("/", handler)
    async with TestClient(Server(application)) as client:
        assert await (await client.get("/")).text() == "fine"
        assert (await client.get("/", headers={"X-Long": "x" * 200})).status == 400, "the runner's settings are kept"
    assert seen == [Connection]


# -- librdkafka


def test_librdkafkas_partitioner_is_found_and_agrees_with_the_java_client() -> None:
    partition = murmur2_partitioner()
    assert partition is not None
    for key in (b"21", b"foobar", b"", b"\x00\xff", b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"):
        assert partition(key, 12) == (murmur2(key) & 0x7FFFFFFF) % 12


class Message:
    """librdkafka's; the first call fails, and later ones lack the name of a header (tests/broker has a real one)."""

    def __init__(self, error: Exception | None, headers: Any) -> None:
        self.error, self.found = error, headers

    def headers(self) -> Any:
        error, self.error = self.error, None
        if error:
            raise error
        return self.found

    def topic(self) -> str:
        return "in"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 3


@pytest.mark.parametrize("error", [SystemError("result with an error set"), UnicodeDecodeError("utf-8", b"", 0, 1, "")])
def test_headers_without_a_valid_name_are_left_out(error: Exception) -> None:
    assert list(headers_of(Message(error, [("a", b"1"), (b"nameless",), ("b", None)]))) == [("a", b"1"), ("b", None)]


@pytest.mark.parametrize("headers", [None, [], [("a", b"1")]])
def test_valid_headers_are_returned_as_they_are(headers: Any) -> None:
    assert list(headers_of(Message(None, headers))) == (headers or [])


# -- behaviour that is relied on without a private name


async def test_a_static_member_does_not_leave_its_group(broker: FakeBroker) -> None:
    """SAGA_INSTANCE: a restart within the session goes unnoticed."""
    for instance, leaves in (("notifier-1", 0), (None, 1)):
        consumer = AIOKafkaConsumer(
            "in", bootstrap_servers=broker.bootstrap, group_id="group", group_instance_id=instance
        )
        await consumer.start()
        await consumer.stop()
        assert len(broker.received(LeaveGroupRequest_v0)) == leaves


async def test_faust_passes_the_instance_id_on(app: faust.App) -> None:
    app.conf.consumer_group_instance_id = "notifier-1"
    thread: Any = Consumer(app.transport, nothing, nothing, nothing).thread
    client = thread._create_consumer(loop=asyncio.get_running_loop())
    assert client._group_instance_id == "notifier-1"


@pytest.mark.parametrize("step", ["_resume_streams", "on_recovery_completed"])
async def test_a_recovery_seeks_before_it_resumes_the_flow(
    app: faust.App, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """`Phase` relies on it: the streams may be read after the seek."""
    calls: list[str] = []

    async def perform_seek() -> None:
        calls.append("seek")

    app.consumer = SimpleNamespace(
        assignment=lambda: {TP("in", 0)},
        resume_partitions=lambda tps: None,
        perform_seek=perform_seek,
        resume_flow=lambda: calls.append("resume"),
    )
    monkeypatch.setattr(app, "_fetcher", SimpleNamespace(maybe_start=nothing), raising=False)
    monkeypatch.setattr(app, "on_rebalance_end", lambda: None)
    await getattr(app.tables.recovery, step)(1)
    assert calls == ["seek", "resume"]


def test_a_described_group_begins_with_its_error_and_ends_with_its_members() -> None:
    """The console counts them. It describes one group at a time: a response of version 3, which has a field more for
    each group, is decoded as version 2, so the second group would be wrong."""
    member = ("member", "client", "host", b"", b"")
    groups = [(0, "group", "Stable", "consumer", "range", [member, member], -1)]
    response = DescribeGroupsRequest_v3.RESPONSE_TYPE.decode(DescribeGroupsResponse_v3(0, groups).encode())
    error, *_, members = response.groups[0]
    assert (error, len(members)) == (0, 2)
