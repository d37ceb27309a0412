"""Requests that wait outside their partition until their next attempt is due.

A request whose next attempt is minutes or hours away must not stay in flight, because it would hold back the commit of
its partition. The step loop stores it in the table `effects` instead, and its record is finished. When the attempt is
due, the request is published to its own topic again (republisher.py) with the header `retry-attempt`.

The table is authoritative: a record leads to an attempt only if the stored entry is for exactly that attempt.
Duplicates of the original, and requests that were published twice or too late, are therefore absorbed.
"""

from enum import Enum

from saga_app.saga.messages import Message, Waiting
from saga_app.saga.times import utc
from saga_app.service.job import Progress
from saga_app.service.record import RETRY_ATTEMPT, Headers, Record


class Decision(Enum):
    """What to do with a request."""

    BEGIN = "make the first attempt"
    RESUME = "make the attempt that the request has waited for"
    ABSORB = "ignore it, because it is a duplicate"


def decide(waiting: Waiting | None, headers: Headers, request: Message) -> Decision:
    """Decide what to do with a request. `headers`: of its record. `waiting`: the stored entry for the step, if any.

    A redrive begins with the first attempt, even if an entry is stored.
    """
    due = _attempt_due(headers)
    if waiting is None or waiting.request_attempt < request.attempt:
        return Decision.BEGIN if due is None else Decision.ABSORB
    is_awaited = (waiting.request_attempt, waiting.attempt) == (request.attempt, due)
    return Decision.RESUME if is_awaited else Decision.ABSORB


def _attempt_due(headers: Headers) -> int | None:
    """The attempt in the header `retry-attempt`; None if the header is missing or invalid."""
    for name, value in headers:
        if name == RETRY_ATTEMPT:
            return int(value) if value is not None and value.isdigit() and len(value) < 10 else None
    return None


def entry(record: Record, request: Message, progress: Progress, next_at: float) -> Waiting:
    """The entry to store for a request whose attempt `progress.attempt` is due at `next_at` (seconds since 1970)."""
    return Waiting(
        attempt=progress.attempt,
        next_at=utc(next_at),
        received_at=progress.received_at,
        started_at=progress.started_at or progress.received_at,
        request_attempt=request.attempt,
        value=(record.value or b"").decode(),
        headers=[(name, _text(value)) for name, value in record.headers if name != RETRY_ATTEMPT],
    )


def progress(waiting: Waiting) -> Progress:
    """The progress with which the attempts continue."""
    return Progress(waiting.attempt, False, waiting.received_at, waiting.started_at)


def record_of(waiting: Waiting) -> tuple[bytes, Headers]:
    """Value and headers with which a request is published again."""
    headers = [(name, _bytes(value)) for name, value in waiting.headers]
    return waiting.value.encode(), [*headers, (RETRY_ATTEMPT, str(waiting.attempt).encode())]


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value is not None else None


def _bytes(value: str | None) -> bytes:
    return value.encode("latin-1") if value is not None else None  # type: ignore[return-value]  # null is allowed
