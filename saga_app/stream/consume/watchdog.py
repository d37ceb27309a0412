"""Conditions in which a worker is alive and will never consume again: only a restart cures them."""

from time import monotonic
from typing import Any

from saga_app.stream.consume.phase import Phase


def problem(consumer: Any) -> BaseException | None:
    """What is wrong with this consumer, or None."""
    return _of_coordinator(getattr(consumer._thread._consumer, "_coordinator", None)) or _of_fetching(consumer)


def _of_coordinator(coordinator: Any) -> BaseException | None:
    """aiokafka parks coordinator errors until somebody asks for them, which Faust never does."""
    task = getattr(coordinator, "_coordination_task", None)
    if task is None or coordinator._closing.done():
        return None
    if coordinator._pending_exception is not None:
        error: BaseException = coordinator._pending_exception
        return error
    return RuntimeError(f"aiokafka's coordination task ended: {task}") if task.done() else None


def _of_fetching(consumer: Any) -> BaseException | None:
    if not consumer.flow_active or consumer.phase is not Phase.STREAMING:
        consumer.alive_at = monotonic()
        return None
    if batch := consumer.ledger.lost():
        return RuntimeError(f"{batch.tp} was overtaken at offset {batch.offset}: no agent has taken it")
    if monotonic() - consumer.alive_at > consumer.transport.stall_s:
        return RuntimeError(f"the fetch loop has stood still for {consumer.transport.stall_s} s")
    return None
