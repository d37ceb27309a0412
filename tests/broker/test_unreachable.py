"""A broker that answers at its bootstrap address but advertises an unreachable one."""

import asyncio
from collections.abc import Callable

import pytest

from saga_app.local import mock_cluster
from saga_app.service.kafka import topics

Now = Callable[[str], None]


@pytest.fixture
def misadvertised() -> str:
    """HOST:PORT of a cluster in this process whose only broker advertises a name that does not resolve."""
    lib = mock_cluster._librdkafka()
    cluster = mock_cluster._new_cluster(lib)
    bootstrap: str = lib.rd_kafka_mock_cluster_bootstraps(cluster).decode()
    lib.rd_kafka_mock_broker_set_host_port(cluster, 1, b"kafka-7.invalid", 9092)
    return bootstrap


@pytest.mark.field(33)
def test_an_unreachable_advertised_listener_is_reported(misadvertised: str, now: Now) -> None:
    async def first_reason() -> str:
        async for reason in topics.ensure(misadvertised, 12, 1, embedded=True):
            return reason
        raise AssertionError("the cluster was considered usable")

    reason = asyncio.run(first_reason())
    assert reason.startswith(f"the broker at {misadvertised} answers, but advertises kafka-7.invalid:9092")
    assert "name resolution failed" in reason
    now(reason[:120])
