"""What a worker needs on the embedded broker only (librdkafka's mock cluster), not on real Kafka."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

from saga_app.stream.transport import Transport

#: For faust.App(**SETTINGS).
SETTINGS: Mapping[str, Any] = {
    "topic_allow_declare": False,  # the mock has no CreateTopics
    "topic_disable_leader": True,  # so there is no leader topic either
    "broker_session_timeout": 3.0,  # every rebalance after the first takes the session timeout minus 1 s
    "broker_heartbeat_interval": 0.5,
    "store": "memory://",  # nothing on disk may outlive the broker
}

#: The mock answers an empty fetch only after its full wait, so keep that short (milliseconds).
FETCH_WAIT_MS = 50

#: The mock fails followers whose SyncGroup comes after the leader's: the leader lets them go first (seconds).
FOLLOWERS_FIRST_S = 0.3


def adapt(target: Any) -> None:
    """Adapt an app, or its Transport, to the embedded broker; after Transport.install and before the start."""
    transport: Transport = target if isinstance(target, Transport) else target.transport
    transport.fetch_wait_ms = FETCH_WAIT_MS
    let_followers_first()


def let_followers_first() -> None:
    """Once a process; aiokafka has no setting for it."""
    original = CoordinatorGroupRebalance._on_join_leader
    if getattr(original, "follows", False):
        return

    async def after_followers(self: Any, response: Any) -> Any:
        await asyncio.sleep(FOLLOWERS_FIRST_S)
        return await original(self, response)

    after_followers.follows = True  # type: ignore[attr-defined]
    CoordinatorGroupRebalance._on_join_leader = after_followers
