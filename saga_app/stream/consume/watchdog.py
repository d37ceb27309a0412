"""Detects a worker that runs and will never consume again, which only a restart cures."""

from time import monotonic
from typing import Any

from saga_app.stream.consume.phase import Phase
from saga_app.stream.upstream.aiokafka import coordinator_failure, group_coordinator


def problem(consumer: Any) -> BaseException | None:
    """What is wrong with this consumer, or None."""
    coordinator = group_coordinator(consumer.thread.aiokafka_consumer)
    failure = coordinator_failure(coordinator) if coordinator is not None else None
    return failure or _fetching_problem(consumer)


def _fetching_problem(consumer: Any) -> BaseException | None:
    if not consumer.flow_active or consumer.phase is not Phase.STREAMING:
        consumer.last_fetch_at = monotonic()
        return None
    if batch := consumer.ledger.overtaken_batch():
        return RuntimeError(f"the batch of {batch.tp} up to offset {batch.offset} was dropped: no agent received it")
    if monotonic() - consumer.last_fetch_at > consumer.transport.stall_s:
        return RuntimeError(f"the fetch loop has made no progress for {consumer.transport.stall_s} s")
    return None
