"""Dead letters: what cannot be handled, byte for byte, with what happened; acknowledged before its offset moves."""

from dataclasses import dataclass

import structlog

from saga_app.saga.messages import DEAD_LETTER, DLQ, DeadLetter, Message, encode
from saga_app.saga.steps import Step
from saga_app.service import metrics
from saga_app.service.record import Receipt, Record

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GaveUp:
    """All attempts have failed, or there was nothing to attempt."""

    error: BaseException
    attempts: int

    @property
    def reason(self) -> str:
        """In words; an exception without any is known by its name."""
        return str(self.error) or type(self.error).__name__


def park(
    receipt: Receipt, record: Record, request: Message | None, step: Step, gave_up: GaveUp, received_at: str, at: str
) -> None:
    """Send a record to the `dlq`; keyed so that the saga's row hears of it, if the saga is known."""
    letter = DeadLetter(
        v=1,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        service=step.service,
        step=step.name,
        error=type(gave_up.error).__name__,
        reason=gave_up.reason,
        attempts=gave_up.attempts,
        received_at=received_at,
        at=at,
        id=request.id if request else None,
        saga=request.saga if request else None,
    )
    metrics.PARKED.labels(step.name, letter.error).inc()
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    log.error("parked", saga=letter.id, step=step.name, error=letter.error, reason=letter.reason, **place)
    carried = [header for header in record.headers if header[0] != DEAD_LETTER]
    key = request.id.encode() if request else record.key
    receipt.send(DLQ, key, record.value, [*carried, (DEAD_LETTER, encode(letter))])
