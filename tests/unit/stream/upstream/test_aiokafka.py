"""Tests of `saga_app.stream.upstream.aiokafka` on aiokafka's clients, with a fake broker.

The last section tests behaviour of aiokafka that this project relies on without using a private name.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from statistics import median
from time import monotonic

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.commit import OffsetCommitRequest_v2
from aiokafka.protocol.coordination import FindCoordinatorRequest_v0
from aiokafka.protocol.fetch import FetchRequest_v4
from aiokafka.protocol.group import HeartbeatRequest_v0, JoinGroupRequest_v1, LeaveGroupRequest_v0, SyncGroupRequest_v0
from aiokafka.protocol.offset import OffsetRequest_v1
from aiokafka.record.memory_records import MemoryRecords

from saga_app.stream.upstream.aiokafka import (
    SendHeartbeat,
    coordinator_connection,
    coordinator_failure,
    delay_leader_sync,
    disable_fetching,
    disable_prefetch_backoff,
    group_coordinator,
    is_closed,
    network_client,
    on_membership_lost,
    pause_after_failed_metadata_update,
    raw_batch,
    read_batches_with,
    set_fetch_wait,
    subscription_state,
    wrap_heartbeat,
)
from tests.fakes.broker import (
    NOT_A_MEMBER,
    NOT_AUTHORIZED,
    REBALANCING,
    FakeBroker,
    Received,
    consumer_in_group,
    record_batch,
)
from tests.fakes.stream import until

IN = TopicPartition("in", 0)


@pytest.fixture
async def member(broker: FakeBroker) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has joined a group."""
    async with consumer_in_group(broker) as consumer:
        yield consumer


# -- clients


async def test_consumers_and_admin_clients_have_a_network_client(reader: AIOKafkaConsumer, broker: FakeBroker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    for owner in (reader, admin):
        assert [node.port for node in network_client(owner).cluster.brokers()] == [broker.port]
    await admin.close()


async def test_a_failed_metadata_update_is_followed_by_a_pause() -> None:
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    pause_after_failed_metadata_update(client, 0.05)
    began = monotonic()
    with pytest.raises(KafkaError):
        await client.fetch_all_metadata()
    assert monotonic() - began >= 0.05
    await client.close()


async def test_a_successful_metadata_update_is_not_delayed(reader: AIOKafkaConsumer) -> None:
    client = network_client(reader)
    pause_after_failed_metadata_update(client, 60)
    assert await asyncio.wait_for(client.force_metadata_update(), 5)


# -- positions and fetching


async def test_the_subscription_has_assignment_and_positions(reader: AIOKafkaConsumer) -> None:
    reader.assign([IN])
    reader.seek(IN, 5)
    state = subscription_state(reader)
    assert not state.reassignment_in_progress
    assert state.subscription.assignment.tps == {IN}
    with state.fetch_context():
        assert state.subscription.assignment.state_value(IN).position == 5


async def test_a_stopped_consumer_is_closed(broker: FakeBroker) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap)
    await consumer.start()
    assert not is_closed(consumer)
    await asyncio.sleep(0)  # aiokafka's stop() fails if its tasks have not started
    await consumer.stop()
    assert is_closed(consumer)


async def test_a_consumer_with_fetching_disabled_still_resets_positions(
    reader: AIOKafkaConsumer, broker: FakeBroker
) -> None:
    disable_fetching(reader)
    reader.assign([IN])
    assert await asyncio.wait_for(reader.position(IN), 5) == 0
    await asyncio.sleep(0.1)
    assert broker.received(OffsetRequest_v1)
    assert not broker.received(FetchRequest_v4)


async def test_fetch_requests_use_the_latest_fetch_wait(reader: AIOKafkaConsumer, broker: FakeBroker) -> None:
    reader.assign([IN])
    await until(lambda: broker.received(FetchRequest_v4))
    set_fetch_wait(reader, 12_345, 67)
    await until(
        lambda: [
            each.request
            for each in broker.received(FetchRequest_v4)
            if (each.request.min_bytes, each.request.max_wait_time) == (12_345, 67)
        ]
    )


@pytest.mark.parametrize("disabled", [False, True])
async def test_without_prefetch_backoff_fetching_continues_immediately(
    reader: AIOKafkaConsumer, broker: FakeBroker, disabled: bool
) -> None:
    """A partition is fetched again while records of another one are unread.

    The case that is not disabled proves that aiokafka's default is a pause of 0.1 s.
    """
    if disabled:
        disable_prefetch_backoff(reader)
    other, pauses = TopicPartition("in", 1), list[float]()
    reader.assign([IN, other])
    for offset in range(5):
        broker.to_fetch = {number: record_batch(b"value", first=offset) for number in (0, 1)}
        while not await reader.getmany(IN, timeout_ms=100):
            pass
        read_at = monotonic()
        next_fetches = await until(partial(fetches_after, broker, read_at))
        pauses.append(next_fetches[0].at - read_at)
        while not await reader.getmany(other, timeout_ms=100):
            pass
    assert (median(pauses) < 0.05) is disabled, pauses


def fetches_after(broker: FakeBroker, at: float) -> list[Received]:
    """The fetch requests that arrived later than this (monotonic seconds)."""
    return [each for each in broker.received(FetchRequest_v4) if each.at > at]


# -- group membership


async def test_only_a_started_member_of_a_group_has_a_coordinator(
    member: AIOKafkaConsumer, reader: AIOKafkaConsumer
) -> None:
    assert group_coordinator(member).generation == 7
    assert group_coordinator(reader) is None
    assert group_coordinator(AIOKafkaConsumer(group_id="group")) is None
    assert group_coordinator(None) is None


async def test_an_error_that_the_coordinator_stores_is_a_failure(broker: FakeBroker) -> None:
    broker.errors[FindCoordinatorRequest_v0] = NOT_AUTHORIZED
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="group")
    await consumer.start()
    coordinator = group_coordinator(consumer)
    assert coordinator_failure(coordinator) is None
    consumer.subscribe(["in"])
    error = await until(lambda: coordinator_failure(coordinator))
    assert type(error).__name__ == "GroupAuthorizationFailedError"
    await consumer.stop()
    assert coordinator_failure(coordinator) is None, "a stopped coordinator reported a failure"


async def test_the_end_of_the_coordination_task_is_a_failure(
    member: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = group_coordinator(member)
    monkeypatch.setattr(coordinator, "need_rejoin", lambda _subscription: 1 / 0)
    coordinator.request_rejoin()
    error = await until(lambda: coordinator_failure(coordinator))
    assert "coordination task ended" in str(error)


@pytest.mark.parametrize(("code", "acknowledged"), [(0, True), (REBALANCING, True), (NOT_A_MEMBER, False)])
async def test_heartbeats_pass_through_the_wrapper(
    member: AIOKafkaConsumer, broker: FakeBroker, code: int, acknowledged: bool
) -> None:
    results: list[bool] = []

    async def wrapper(send: SendHeartbeat) -> bool:
        before = len(broker.received(HeartbeatRequest_v0))
        results.append(await send())
        assert len(broker.received(HeartbeatRequest_v0)) > before, "send() did not send a heartbeat"
        return results[-1]

    broker.errors[HeartbeatRequest_v0] = code
    wrap_heartbeat(group_coordinator(member), wrapper)
    await until(lambda: results)
    assert results[0] is acknowledged


@pytest.mark.parametrize("request_type", [HeartbeatRequest_v0, OffsetCommitRequest_v2])
async def test_a_lost_membership_is_reported_with_the_member_id_intact(
    member: AIOKafkaConsumer, broker: FakeBroker, request_type: type
) -> None:
    coordinator = group_coordinator(member)
    member_ids: list[str] = []
    on_membership_lost(coordinator, lambda: member_ids.append(coordinator.member_id))
    broker.errors[request_type] = NOT_A_MEMBER
    if request_type is OffsetCommitRequest_v2:
        with pytest.raises(KafkaError):
            await member.commit({IN: 1})
    await until(lambda: member_ids)
    assert member_ids[0] == "member"
    broker.errors.clear()
    await until(lambda: coordinator.member_id == "member")  # it has joined again


async def test_closing_the_connection_fails_an_unanswered_heartbeat(
    member: AIOKafkaConsumer, broker: FakeBroker
) -> None:
    coordinator = group_coordinator(member)
    results: list[bool] = []

    async def wrapper(send: SendHeartbeat) -> bool:
        results.append(await send())
        return results[-1]

    broker.silent.add(HeartbeatRequest_v0)
    before = len(broker.received(HeartbeatRequest_v0))
    wrap_heartbeat(coordinator, wrapper)
    await until(lambda: len(broker.received(HeartbeatRequest_v0)) > before)
    await asyncio.sleep(0.05)
    results.clear()
    connections = broker.connections
    coordinator_connection(coordinator).close()
    await until(lambda: False in results)
    broker.silent.clear()
    await until(lambda: True in results)
    assert broker.connections > connections, "the next heartbeat did not open a new connection"


async def test_a_coordinator_that_is_not_connected_has_no_connection(broker: FakeBroker) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="group")
    await consumer.start()
    assert coordinator_connection(group_coordinator(consumer)) is None
    await consumer.stop()


async def test_a_leader_delays_its_sync_request(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    # delay_leader_sync() changes the class; monkeypatch restores it after the test.
    original = CoordinatorGroupRebalance._on_join_leader
    monkeypatch.setattr(CoordinatorGroupRebalance, "_on_join_leader", original)
    delay_leader_sync(0.1)
    delay_leader_sync(60)  # no effect: the first call counts
    consumer = AIOKafkaConsumer("in", bootstrap_servers=broker.bootstrap, group_id="group")
    await asyncio.wait_for(consumer.start(), 10)
    (join,), (sync,) = broker.received(JoinGroupRequest_v1), broker.received(SyncGroupRequest_v0)
    assert sync.at - join.at >= 0.1
    await consumer.stop()


# -- record batches


@pytest.mark.parametrize("compression", [0, 1])
def test_a_raw_batch_decodes_the_current_content_of_its_buffer(compression: int) -> None:
    raw = raw_batch(record_batch(b"one", b"two", compression=compression))
    assert raw.record_count == 2
    at = raw.buffer.index(b"two", raw.first_position)
    raw.buffer[at : at + 3] = b"2nd"
    assert [record.value for record in raw.records] == [b"one", b"2nd"]


async def test_consumers_decode_fetched_bytes_with_the_given_reader(
    reader: AIOKafkaConsumer, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)  # restores it after the test
    sizes_bytes: list[int] = []

    def read(data: bytes) -> MemoryRecords:
        sizes_bytes.append(len(data))
        return MemoryRecords(data)

    read_batches_with(read)
    broker.to_fetch[0] = data = record_batch(b"one")
    reader.assign([IN])
    assert (await asyncio.wait_for(reader.getone(), 5)).value == b"one"
    assert len(data) in sizes_bytes


# -- behaviour that is relied on without a private name


async def test_a_static_member_does_not_leave_its_group(broker: FakeBroker) -> None:
    """With SAGA_INSTANCE a restart within the session timeout causes no rebalance."""
    for instance, leave_requests in (("notifier-1", 0), (None, 1)):
        consumer = AIOKafkaConsumer(
            "in", bootstrap_servers=broker.bootstrap, group_id="group", group_instance_id=instance
        )
        await consumer.start()
        await consumer.stop()
        assert len(broker.received(LeaveGroupRequest_v0)) == leave_requests


def test_a_described_group_starts_with_its_error_and_ends_with_members() -> None:
    """The console counts the members, and describes one group at a time.

    aiokafka decodes a response of version 3, which has one more field per group, as version 2. So the first group is
    right, and a second one would be wrong.
    """
    member = ("member", "client", "host", b"", b"")
    groups = [(0, "group", "Stable", "consumer", "range", [member, member], -1)]
    response = DescribeGroupsRequest_v3.RESPONSE_TYPE.decode(DescribeGroupsResponse_v3(0, groups).encode())
    error, *_, members = response.groups[0]
    assert (error, len(members)) == (0, 2)
