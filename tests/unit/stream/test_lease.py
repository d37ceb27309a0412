"""A worker that its group may have given up on hands over no rows."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import ConnectionGroup

from saga_app.stream.consume.lease import Fenced, Lease


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Connection:
    """To the coordinator; closing it fails what waits there."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def close(self) -> None:
        self.closed.set()


class Coordinator:
    """What the lease sees of aiokafka's."""

    answers: bool = True
    resets = 0
    coordinator_id = 1

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client = SimpleNamespace(_conns={(1, ConnectionGroup.COORDINATION): Connection()})

    async def _do_heartbeat(self) -> bool:
        self._clock.now += 0.5  # the answer takes a while
        return self.answers

    def reset_generation(self) -> None:
        self.resets += 1


class Silent(Coordinator):
    """Takes a heartbeat, and says nothing until the connection is closed."""

    async def _do_heartbeat(self) -> bool:
        await self._client._conns[1, ConnectionGroup.COORDINATION].closed.wait()
        return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(("session_s", "heartbeat_s"), [(8, 2), (10, 3), (12, 2), (3, 0.5), (6, 6)])
def test_a_row_is_given_up_on_before_the_session_can_have_ended(session_s: float, heartbeat_s: float) -> None:
    lease = Lease(session_s, heartbeat_s)
    assert lease.age_s + lease.row_timeout_s <= session_s
    assert lease.age_s > 0
    assert lease.row_timeout_s > 0


def test_rows_are_held_when_the_last_heartbeat_is_long_ago_and_go_on_after_the_next(clock: Clock) -> None:
    lease = Lease(8, 2, clock)
    clock.now += lease.age_s
    assert lease.holds()
    clock.now += 0.1
    assert not lease.holds()
    lease.renew()
    assert lease.holds()


async def test_a_heartbeat_counts_from_when_it_was_sent(clock: Clock) -> None:
    lease, coordinator = Lease(8, 2, clock), Coordinator(clock)
    lease.watch(coordinator)
    sent = clock.now
    assert await coordinator._do_heartbeat()
    assert lease.renewed == sent < clock.now


async def test_a_heartbeat_that_is_never_answered_ends_with_its_connection_after_a_session(clock: Clock) -> None:
    lease, coordinator = Lease(0.05, 0.01, clock), Silent(clock)
    lease.watch(coordinator)
    before = lease.renewed
    assert not await asyncio.wait_for(coordinator._do_heartbeat(), 5)
    assert lease.renewed == before


async def test_a_heartbeat_that_is_answered_leaves_the_connection_alone(clock: Clock) -> None:
    lease, coordinator = Lease(0.01, 0.01, clock), Coordinator(clock)
    lease.watch(coordinator)
    assert await coordinator._do_heartbeat()
    connection = coordinator._client._conns[1, ConnectionGroup.COORDINATION]
    overdue = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, overdue.set_result, None)  # a timer that was not cancelled is before it
    await overdue
    assert not connection.closed.is_set()


async def test_an_unanswered_heartbeat_renews_nothing(clock: Clock) -> None:
    lease, coordinator = Lease(8, 2, clock), Coordinator(clock)
    lease.watch(coordinator)
    coordinator.answers = False
    before = lease.renewed
    assert not await coordinator._do_heartbeat()
    assert lease.renewed == before


def test_after_a_lost_membership_rows_fail_until_there_is_a_new_assignment(clock: Clock) -> None:
    lease, coordinator = Lease(8, 2, clock), Coordinator(clock)
    lease.watch(coordinator)
    reset: Any = coordinator.reset_generation
    reset()
    assert coordinator.resets == 1
    with pytest.raises(Fenced):
        lease.holds()
    lease.renew()
    assert lease.holds()
