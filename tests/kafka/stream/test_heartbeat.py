"""A heartbeat that the broker took and never answered must not keep a worker from its rows for long."""

from typing import Any

from aiokafka import AIOKafkaConsumer

from saga_app.stream.consume.lease import Lease
from saga_app.stream.upstream.aiokafka import coordinator_connection, group_coordinator
from tests.kafka.stream.relay_harness import RelayHarness
from devtools.wait import eventually

#: Shorter than that of the group (seconds), so that it is seen who acts: the lease, before aiokafka's 30 s are over.
SESSION_S = 1.0


async def test_after_a_session_without_an_answer_the_next_heartbeat_takes_a_new_connection(relay: RelayHarness) -> None:
    lease = Lease(SESSION_S, 0.2)
    consumer: Any = AIOKafkaConsumer(
        relay.incoming, bootstrap_servers=relay.bootstrap, group_id=relay.name, heartbeat_interval_ms=200
    )

    async def heard() -> bool:
        return lease.renewed_at > began

    async def renewed() -> bool:
        return lease.silent_s < SESSION_S / 2

    async def silent() -> bool:
        return not await renewed()

    async with consumer:
        coordinator, began = group_coordinator(consumer), lease.renewed_at
        lease.watch(coordinator)
        await eventually(heard, 20, "the first heartbeat")
        mute(coordinator)
        await eventually(silent, 5, "no answer")
        await eventually(renewed, 10, "heartbeats on a new connection")


def mute(coordinator: Any) -> None:
    """Lose what is sent to the coordinator from now on."""
    coordinator_connection(coordinator)._writer.write = lambda data: None
