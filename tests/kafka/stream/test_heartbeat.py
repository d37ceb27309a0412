"""An unanswered heartbeat must not keep a worker from writing rows for long."""

from typing import Any

from aiokafka import AIOKafkaConsumer

from devtools.wait import eventually
from saga_app.stream.consume.lease import Lease
from saga_app.stream.upstream.aiokafka import coordinator_connection, group_coordinator
from tests.kafka.stream.relay_harness import RelayHarness

#: The session timeout of the lease (seconds): shorter than aiokafka's request timeout of 30 s, so that a new connection
#: is the work of the lease.
SESSION_TIMEOUT_S = 1.0


async def test_an_unanswered_heartbeat_is_followed_by_a_new_connection(relay: RelayHarness) -> None:
    lease = Lease(SESSION_TIMEOUT_S, 0.2)
    consumer = AIOKafkaConsumer(
        relay.incoming, bootstrap_servers=relay.bootstrap, group_id=relay.name, heartbeat_interval_ms=200
    )

    async def has_been_renewed() -> bool:
        return lease.renewed_at > began

    async def is_renewed() -> bool:
        return lease.silent_s < SESSION_TIMEOUT_S / 2

    async def is_silent() -> bool:
        return not await is_renewed()

    async with consumer:
        coordinator, began = group_coordinator(consumer), lease.renewed_at
        lease.watch(coordinator)
        await eventually(has_been_renewed, 20, "no heartbeat was acknowledged")
        drop_requests(coordinator)
        await eventually(is_silent, 5, "heartbeats are still acknowledged")
        await eventually(is_renewed, 10, "no heartbeat was acknowledged on a new connection")


def drop_requests(coordinator: Any) -> None:
    """Discard everything that is sent on the current connection to the coordinator."""
    coordinator_connection(coordinator)._writer.write = lambda data: None
