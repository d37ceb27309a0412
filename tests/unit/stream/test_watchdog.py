"""The watchdog finds the problem of a worker that will never consume again, so that it crashes and is restarted."""

from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.coordination import FindCoordinatorRequest_v0

from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.consume.phase import Phase
from saga_app.stream.consume.watchdog import problem
from tests.fakes.broker import NOT_AUTHORIZED, FakeBroker
from tests.fakes.stream import batch, finish_all, until


@pytest.fixture
async def consumer() -> Any:
    """A healthy consumer whose thread has not started."""
    return SimpleNamespace(
        thread=SimpleNamespace(aiokafka_consumer=None),
        flow_active=True,
        phase=Phase.STREAMING,
        last_fetch_at=monotonic(),
        ledger=Ledger(100),
        transport=SimpleNamespace(stall_s=60.0),
    )


async def test_a_healthy_worker_has_no_problem(consumer: Any) -> None:
    assert problem(consumer) is None


async def test_a_failure_of_the_group_coordinator_is_found(consumer: Any, broker: FakeBroker) -> None:
    broker.errors[FindCoordinatorRequest_v0] = NOT_AUTHORIZED
    member = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="group")
    await member.start()
    consumer.thread.aiokafka_consumer = member
    assert problem(consumer) is None
    member.subscribe(["in"])
    await until(lambda: problem(consumer) is not None)
    await member.stop()


async def test_a_fetch_loop_without_progress_is_found(consumer: Any) -> None:
    consumer.last_fetch_at -= 61
    assert "no progress for 60.0 s" in str(problem(consumer))


async def test_a_long_recovery_is_not_a_problem(consumer: Any) -> None:
    consumer.last_fetch_at -= 61
    consumer.phase = Phase.RESTORING
    assert problem(consumer) is None
    consumer.phase = Phase.STREAMING
    assert problem(consumer) is None, "the time of the recovery counted as time without progress"


async def test_a_batch_dropped_by_faust_is_found(consumer: Any) -> None:
    consumer.ledger.add(batch([0]))
    finish_all(consumer.ledger.add(batch([1])))
    assert "up to offset 0 was dropped" in str(problem(consumer))
