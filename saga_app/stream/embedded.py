"""What a worker needs on the embedded broker (librdkafka's mock cluster), and not on Kafka."""

from collections.abc import Mapping
from typing import Any

from saga_app.stream.transport import Transport
from saga_app.stream.upstream.aiokafka import delay_leader_sync

#: For faust.App(**SETTINGS).
SETTINGS: Mapping[str, Any] = {
    "topic_allow_declare": False,  # the mock has no CreateTopics
    "topic_disable_leader": True,  # so there is no leader topic either
    "broker_session_timeout": 3.0,  # every rebalance after the first takes the session timeout minus 1 s
    "broker_heartbeat_interval": 0.5,
    "store": "memory://",  # the broker keeps nothing, so nothing on disk may outlive it
}

#: The mock answers an empty fetch only after its full wait, so that is short (milliseconds).
FETCH_WAIT_MS = 50

#: The mock fails followers whose SyncGroup request arrives after the leader's: the leader waits this long (seconds).
LEADER_SYNC_DELAY_S = 0.3


def adapt(target: Any) -> None:
    """Adapt an app, or its Transport, to the embedded broker: after `Transport.install` and before the start."""
    transport: Transport = target if isinstance(target, Transport) else target.transport
    transport.fetch_wait_ms = FETCH_WAIT_MS
    delay_leader_sync(LEADER_SYNC_DELAY_S)
