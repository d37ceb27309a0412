"""Dead letters: records that could not be processed, stored byte for byte with the reason.

A dead letter is acknowledged before the offset of its original is committed. A letter that the `dlq` refuses is sent
again with less of the original, and records how much is missing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import structlog

from saga_app.saga.codec import BadMessage, decode, encode, replace_fields, saga_id
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Message
from saga_app.saga.plan import Step
from saga_app.service import metrics
from saga_app.service.record import RETRY_ATTEMPT, Headers, Outputs, Record
from saga_app.stream import Refused
from saga_app.stream.produce.refusal import size_of

log = structlog.get_logger()

#: The maximum length of a reason in characters; the rest is cut.
MAX_REASON_LENGTH = 2_000

#: Bytes of value and headers that are kept in each further try, after the `dlq` refused the complete letter.
SHORTENED_BYTES = ((65_536, 8_192), (1_024, 0), (0, 0))

#: Pause before a letter is sent again that the `dlq` refused even in its shortest form (seconds).
RESEND_AFTER_S = 5.0


#: Exceptions that only bugs raise. Errors of the broker, the disk and the network are not among them: those crash the
#: worker, and the record is read again.
PROGRAMMING_ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Reader(NamedTuple):
    """The consumer of a topic that belongs to no step of the plan; takes the place of a step in dead letters."""

    name: str
    service: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The request cannot be completed: all attempts failed, or none was possible."""

    error: BaseException
    attempts: int

    @property
    def reason(self) -> str:
        """The text of the error, or its type if it has no text."""
        return (str(self.error) or type(self.error).__name__)[:MAX_REASON_LENGTH]


class Refusals:
    """Handles outputs that the broker refused. One instance per service.

    `problem`: why dead letters cannot be stored at the moment, or None. The service is not ready while it is set.
    """

    def __init__(self) -> None:
        self.problem: str | None = None

    def without_signals(self, refusals: Sequence[Refused]) -> list[Refused]:
        """Count refused outputs and return those that need handling.

        A refused signal is only logged, because no saga depends on it.
        """
        for refusal in refusals:
            metrics.REFUSED.labels(refusal.topic).inc()
            if refusal.topic == SIGNALS:
                log.warning("signal refused by the broker", topic=refusal.topic, reason=str(refusal))
        return [refusal for refusal in refusals if refusal.topic != SIGNALS]

    async def resend_shortened(self, outputs: Outputs, letter: Refused, tries: int) -> None:
        """Send a refused dead letter again with less of its original; `tries` is how often it was refused before.

        If the `dlq` refuses even the shortest form, it is misconfigured or not authorised. Then the partition waits and
        the letter is sent again every `RESEND_AFTER_S` seconds.
        """
        if tries >= len(SHORTENED_BYTES):
            if self.problem is None:
                log.error("dead letter refused by the broker", reason=str(letter), next_try_in_s=RESEND_AFTER_S)
            self.problem = f"dead letters cannot be stored: {letter}; check max.message.bytes and the ACLs of {DLQ}"
            await asyncio.sleep(RESEND_AFTER_S)
        value, headers = shorten(letter.value, letter.headers, *SHORTENED_BYTES[min(tries, len(SHORTENED_BYTES) - 1)])
        outputs.send(DLQ, letter.key, value, headers)
        try:
            await outputs.acknowledged()
        except Refused:
            return  # the pool calls again
        self.problem = None


def park(
    outputs: Outputs,
    record: Record,
    request: Message | None,
    step: Step | Reader,
    gave_up: GaveUp,
    received_at: datetime,
    at: datetime,
    *,
    unsent: bytes | None = None,
    refused_by: str | None = None,
) -> None:
    """Send a record to the `dlq`, keyed by its saga if known, so that it is on the partition of the saga row.

    `request`: the decoded record; None if it is unreadable, then the saga id is taken from its value or key.
    `received_at`: when this worker received the record. `at`: the current time.
    `unsent`: the next request, if the record itself was processed, but the broker refused that request.
    `refused_by`: the topic that refused an output of the record.
    """
    id = request.id if request else saga_id(record.value, record.key)
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
        id=id,
        saga=request.saga if request else None,
        refused_by=refused_by,
    )
    metrics.PARKED.labels(step.name, letter.error).inc()
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    log.error("message parked", saga=letter.id, step=step.name, error=letter.error, reason=letter.reason, **place)
    key = id.encode() if id else record.key
    outputs.send(DLQ, key, record.value if unsent is None else unsent, with_letter(record.headers, letter))


def with_letter(headers: Headers, letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    """The headers of a dead letter: those of the original, and the details in `dead-letter`."""
    carried = (header for header in headers if header[0] not in (DEAD_LETTER, RETRY_ATTEMPT))
    return [*carried, (DEAD_LETTER, encode(letter))]


def shorten(
    value: bytes | None, headers: Headers, value_bytes: int, headers_bytes: int
) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """Value and headers of a dead letter with less of its original, and with the original and kept sizes in its header.

    A readable message stays readable, without its facts, so that its saga is parked; it may exceed `value_bytes`.
    Of other values, the first `value_bytes` bytes are kept. Headers are kept in order while they fit `headers_bytes`.
    """
    letter = decode(DeadLetter, dict(headers)[DEAD_LETTER])
    carried = [header for header in headers if header[0] != DEAD_LETTER]
    kept_value, kept_headers = _without_facts(letter, value, value_bytes), list[tuple[str, bytes | None]]()
    for header in carried:
        if size_of(None, [*kept_headers, header]) <= headers_bytes:
            kept_headers.append(header)
    letter = replace_fields(
        letter,
        reason=letter.reason if value_bytes else letter.reason[:200],
        original_bytes=letter.original_bytes or size_of(value, carried),
        kept_bytes=size_of(kept_value, kept_headers),
    )
    return kept_value, with_letter(kept_headers, letter)


def _without_facts(letter: DeadLetter, value: bytes | None, max_bytes: int) -> bytes | None:
    if value is None or len(value) <= max_bytes:
        return value
    if letter.id is not None and max_bytes:
        try:
            lean = encode(replace_fields(decode(Message, value), facts={}))
        except BadMessage:
            lean = value
        if len(lean) < len(value):
            return lean
    return value[:max_bytes]
