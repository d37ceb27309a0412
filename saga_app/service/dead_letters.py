"""Dead letters: what cannot be handled, byte for byte, with what happened; acknowledged before its offset moves.

A letter that the `dlq` itself refuses is sent again with less of the original in it, and says so.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from saga_app.saga.messages import (
    DEAD_LETTER,
    DLQ,
    SIGNALS,
    BadMessage,
    DeadLetter,
    Message,
    changed,
    decode,
    encode,
    saga_id,
)
from saga_app.saga.plan import Step
from saga_app.service import metrics
from saga_app.service.record import RETRY_ATTEMPT, Outputs, Record
from saga_app.stream import Refused
from saga_app.stream.produce.refusal import size_of

log = structlog.get_logger()

#: How much of a reason is kept (characters).
REASON = 2_000

#: How much of an original is kept when the dlq refuses all of it: value and headers (bytes), from the first try on.
KEPT = ((65_536, 8_192), (1_024, 0), (0, 0))

#: Pause before a letter is sent again of which the dlq refuses even the least (seconds).
AGAIN_S = 5.0


#: Exceptions that only a fault in our own code raises. The broker's, the disk's and the network's are not among them:
#: those crash the worker, and the record comes again.
FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Reader(NamedTuple):
    """The reader of a topic that belongs to no step of the plan."""

    name: str
    service: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """All attempts have failed, or there was nothing to attempt."""

    error: BaseException
    attempts: int

    @property
    def reason(self) -> str:
        """In words; an exception without any is known by its name."""
        return (str(self.error) or type(self.error).__name__)[:REASON]


class Refusals:
    """What becomes of a record whose output the broker refused: one for each service.

    `problem` says why dead letters cannot be stored at the moment, or None: then the service is not ready.
    """

    def __init__(self) -> None:
        self.problem: str | None = None

    def lost(self, refusals: Sequence[Refused]) -> list[Refused]:
        """Those that matter. A signal is only news: without it nothing stops, and a warning is enough."""
        for refusal in refusals:
            metrics.REFUSED.labels(refusal.topic).inc()
            if refusal.topic == SIGNALS:
                log.warning("signal refused by the broker", topic=refusal.topic, reason=str(refusal))
        return [refusal for refusal in refusals if refusal.topic != SIGNALS]

    async def shorten(self, outputs: Outputs, letter: Refused, tries: int) -> None:
        """Send a dead letter that the dlq refused with less in it; `tries` were refused before.

        If the dlq refuses even the least, it is misconfigured or not authorised: the partition waits for that.
        """
        if tries >= len(KEPT):
            if self.problem is None:
                log.error("dead letter refused by the broker", reason=str(letter), next_try_in_s=AGAIN_S)
            self.problem = f"dead letters cannot be stored: {letter}; check max.message.bytes and the ACLs of {DLQ}"
            await asyncio.sleep(AGAIN_S)
        value, headers = shortened(letter.value, letter.headers, *KEPT[min(tries, len(KEPT) - 1)])
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
    received_at: str,
    at: str,
    *,
    instead: bytes | None = None,
    refused_by: str | None = None,
) -> None:
    """Send a record to the `dlq`, keyed by its saga if that can be known: the saga's row is on that partition.

    Without a `request` the record could not be read; its saga is then whatever its value or its key names.
    `instead`: the message that could not be sent, where the record itself was handled; its saga waits for that step.
    `refused_by`: the topic that refused it.
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
    log.error("parked", saga=letter.id, step=step.name, error=letter.error, reason=letter.reason, **place)
    key = id.encode() if id else record.key
    outputs.send(DLQ, key, record.value if instead is None else instead, with_letter(record.headers, letter))


def with_letter(headers: Iterable[tuple[str, bytes]], letter: DeadLetter) -> list[tuple[str, bytes]]:
    """The headers of a dead letter: those of its original, and what happened."""
    carried = (header for header in headers if header[0] not in (DEAD_LETTER, RETRY_ATTEMPT))
    return [*carried, (DEAD_LETTER, encode(letter))]


def shortened(
    value: bytes | None, headers: Sequence[tuple[str, bytes]], value_bytes: int, headers_bytes: int
) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """A dead letter with at most so much of its original, and with the sizes of both in its header.

    A message that can be read is kept readable, without its facts, so that its saga is parked all the same. Otherwise
    the beginning of the value is kept. Headers are kept in their order for as long as they fit.
    """
    letter = decode(DeadLetter, dict(headers)[DEAD_LETTER])
    carried = [header for header in headers if header[0] != DEAD_LETTER]
    kept_value, kept_headers = _without_facts(letter, value, value_bytes), list[tuple[str, bytes]]()
    for header in carried:
        if size_of(None, [*kept_headers, header]) <= headers_bytes:
            kept_headers.append(header)
    letter = changed(
        letter,
        reason=letter.reason if value_bytes else letter.reason[:200],
        original_bytes=letter.original_bytes or size_of(value, carried),
        kept_bytes=size_of(kept_value, kept_headers),
    )
    return kept_value, with_letter(kept_headers, letter)


def _without_facts(letter: DeadLetter, value: bytes | None, most_bytes: int) -> bytes | None:
    if value is None or len(value) <= most_bytes:
        return value
    if letter.id is not None and most_bytes:
        try:
            lean = encode(changed(decode(Message, value), facts={}))
        except BadMessage:
            lean = value
        if len(lean) < len(value):
            return lean
    return value[:most_bytes]
