"""A worker that its group may have expelled sends no rows."""

import asyncio
from typing import Any

import pytest
from aiokafka.protocol.group import HeartbeatRequest_v0

from saga_app.stream.consume.lease import Fenced, Lease
from saga_app.stream.upstream.aiokafka import coordinator_connection, group_coordinator
from tests.fakes.broker import NOT_A_MEMBER, NOT_COORDINATOR, FakeBroker, consumer_in_group
from tests.fakes.stream import until


class FakeClock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize(("session_s", "heartbeat_s"), [(8, 2), (10, 3), (12, 2), (3, 0.5), (6, 6)])
def test_a_row_times_out_before_the_session_can_have_expired(session_s: float, heartbeat_s: float) -> None:
    lease = Lease(session_s, heartbeat_s)
    assert lease.age_s + lease.row_timeout_s <= session_s
    assert lease.age_s > 0
    assert lease.row_timeout_s > 0


def test_an_expired_lease_holds_again_after_the_next_heartbeat(clock: FakeClock) -> None:
    lease = Lease(8, 2, clock)
    clock.now += lease.age_s
    assert lease.holds()
    clock.now += 0.1
    assert not lease.holds()
    lease.renew()
    assert lease.holds()


async def test_a_heartbeat_renews_the_lease_from_the_time_it_was_sent(broker: FakeBroker, clock: FakeClock) -> None:
    lease, sent_at = Lease(8, 2, clock), list[float]()

    def advance_clock(request: Any) -> None:
        """Let half a second pass between each heartbeat and its response."""
        if isinstance(request, HeartbeatRequest_v0):
            sent_at.append(clock.now)
            clock.now += 0.5

    clock.now += 1
    broker.on_request = advance_clock
    async with consumer_in_group(broker) as consumer:
        lease.watch(group_coordinator(consumer))
        await until(lambda: lease.renewed_at in sent_at)
        assert lease.renewed_at < clock.now


async def test_a_rejected_heartbeat_does_not_renew_the_lease(broker: FakeBroker, clock: FakeClock) -> None:
    lease, before = Lease(8, 2, clock), clock.now
    clock.now += 1
    async with consumer_in_group(broker) as consumer:
        broker.errors[HeartbeatRequest_v0] = NOT_COORDINATOR
        lease.watch(group_coordinator(consumer))
        sent = len(broker.received(HeartbeatRequest_v0))
        await until(lambda: len(broker.received(HeartbeatRequest_v0)) > sent + 1)
        assert lease.renewed_at == before


async def test_an_unanswered_heartbeat_closes_its_connection(broker: FakeBroker, clock: FakeClock) -> None:
    """The lease closes it after the session timeout, long before aiokafka's request timeout of 40 s."""
    lease, before = Lease(0.05, 0.01, clock), clock.now
    clock.now += 1
    async with consumer_in_group(broker) as consumer:
        broker.silent.add(HeartbeatRequest_v0)
        lease.watch(group_coordinator(consumer))
        sent = len(broker.received(HeartbeatRequest_v0))
        await until(lambda: len(broker.received(HeartbeatRequest_v0)) > sent + 1)
        assert lease.renewed_at == before
        broker.silent.clear()
        await until(lambda: lease.renewed_at > before)


async def test_an_answered_heartbeat_keeps_its_connection(broker: FakeBroker) -> None:
    lease = Lease(0.05, 0.01)
    async with consumer_in_group(broker) as consumer:
        lease.watch(group_coordinator(consumer))
        connection = coordinator_connection(group_coordinator(consumer))
        await asyncio.sleep(0.2)
        assert coordinator_connection(group_coordinator(consumer)) is connection
        assert connection.connected()


async def test_a_lost_membership_fences_the_worker_until_it_is_renewed(broker: FakeBroker) -> None:
    lease = Lease(8, 2)
    async with consumer_in_group(broker) as consumer:
        lease.watch(group_coordinator(consumer))
        broker.errors[HeartbeatRequest_v0] = NOT_A_MEMBER
        await until(lambda: lease.membership_lost)
        with pytest.raises(Fenced):
            lease.holds()
        lease.renew()
        assert lease.holds()
