"""A worker that will never consume again ends, so that its supervisor starts it anew."""

import asyncio
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.consume.phase import Phase
from saga_app.stream.consume.watchdog import problem
from tests.unit.stream.fakes import batch, finish_all


@pytest.fixture
async def consumer() -> Any:
    """A consumer that is well."""
    loop = asyncio.get_running_loop()
    coordinator = SimpleNamespace(
        _coordination_task=loop.create_future(), _closing=loop.create_future(), _pending_exception=None
    )
    return SimpleNamespace(
        _thread=SimpleNamespace(_consumer=SimpleNamespace(_coordinator=coordinator)),
        flow_active=True,
        phase=Phase.STREAMING,
        alive_at=monotonic(),
        ledger=Ledger(100),
        transport=SimpleNamespace(stall_s=60.0),
    )


def coordinator(consumer: Any) -> Any:
    return consumer._thread._consumer._coordinator


async def test_a_worker_that_is_well_is_left_alone(consumer: Any) -> None:
    assert problem(consumer) is None


async def test_an_error_that_aiokafka_has_parked_is_found(consumer: Any) -> None:
    coordinator(consumer)._pending_exception = error = ValueError("not authorized")
    assert problem(consumer) is error


async def test_a_coordination_task_that_has_ended_is_found(consumer: Any) -> None:
    coordinator(consumer)._coordination_task.set_result(None)
    assert "coordination task ended" in str(problem(consumer))


async def test_a_consumer_that_is_closing_is_left_alone(consumer: Any) -> None:
    coordinator(consumer)._coordination_task.set_result(None)
    coordinator(consumer)._closing.set_result(None)
    assert problem(consumer) is None


async def test_a_consumer_that_has_no_thread_yet_is_left_alone(consumer: Any) -> None:
    consumer._thread._consumer = None
    assert problem(consumer) is None


async def test_a_fetch_loop_that_stands_still_is_found(consumer: Any) -> None:
    consumer.alive_at -= 61
    assert "stood still" in str(problem(consumer))


async def test_a_long_recovery_is_no_standstill(consumer: Any) -> None:
    consumer.alive_at -= 61
    consumer.phase = Phase.RESTORING
    assert problem(consumer) is None
    consumer.phase = Phase.STREAMING
    assert problem(consumer) is None, "the clock starts anew with the streams"


async def test_a_batch_that_faust_has_dropped_is_found(consumer: Any) -> None:
    consumer.ledger.add(batch([0]))
    finish_all(consumer.ledger.add(batch([1])))
    assert "overtaken at offset 0" in str(problem(consumer))
