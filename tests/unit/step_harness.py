"""Runs single records through the step loop of a service, with fakes for the table, the outputs and the mail server."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any

from saga_app.saga import world
from saga_app.saga.codec import decode, encode, replace_fields
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Effects, Message, Row, Slip, Visit, Waiting
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.retry import Deferred, Transient
from saga_app.service import policy
from saga_app.service.memory import effects
from saga_app.service.memory.delayed_requests import record_of
from saga_app.service.memory.rows import Rows
from saga_app.service.onboarding_world import FilePolicy, MockStock, OnboardingWorld
from saga_app.service.record import Record
from saga_app.service.step import StepLoop
from saga_app.stream import partition_of
from saga_app.stream.table.key_lock import KeyLock, KeyLocks
from tests.builders import request_to
from tests.fakes.record import FakeRecord

PARTITIONS = 12

#: The partition of Ada's saga.
ADAS_PARTITION = partition_of(b"ada", PARTITIONS)

#: A client's record on `new-user`.
NEW_USER_REQUEST = b'{"v":1,"id":"ada","user":{"name":"Ada","email":"ada@example.com","department":"Sales"}}'

#: The trace context with which Ada's mail is requested in `table_with_deferred_mail`.
TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class SentMessages:
    """The outputs of a record: topic, key, value and headers of each message, acknowledged immediately."""

    messages: list[tuple[str, bytes | None, bytes | None, Any]] = field(default_factory=list)

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None, partition: int | None = None
    ) -> None:
        self.messages.append((topic, key, value, headers))

    async def acknowledged(self) -> None:
        """Return at once: there is no broker to wait for."""

    @property
    def topics(self) -> list[str]:
        return [message[0] for message in self.messages]


class FakeRows:
    """A table in a dict, owned by this worker, with real locks. Serves as `sagas` and as `effects`."""

    def __init__(self) -> None:
        self.locks: KeyLocks = {}
        self.stored: dict[tuple[int, bytes], bytes] = {}

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.stored.get((partition, key))

    def write(self, outputs: Any, partition: int, key: bytes, value: bytes | None) -> None:
        assert value is not None
        self.stored[partition, key] = value

    async def wait_until_owned(self) -> None:
        """Return at once: this worker owns all partitions."""

    def lock(self, partition: int, key: bytes) -> KeyLock:
        return KeyLock(self.locks, (partition, key))

    def row(self, id: str) -> Row:
        """The row of this saga in the table `sagas`."""
        return decode(Row, self.stored[partition_of(id.encode(), PARTITIONS), id.encode()])


class FakeMail:
    """Raises `error` for the first `failures` calls, then returns `refused`.

    `failures` counts down, so it is -1 after the first call that does not fail.
    """

    def __init__(
        self,
        failures: int = 0,
        error: Exception | None = None,
        refused: str | None = None,
        is_idempotent: bool = False,
    ) -> None:
        self.failures, self.error, self.refused = failures, error or Transient("timed out"), refused
        self.is_idempotent = is_idempotent

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        return self.refused

    async def close(self) -> None:
        """Nothing to close."""


def greylisting_mail(failures: int = 99) -> FakeMail:
    """A mail server that defers the first `failures` attempts."""
    return FakeMail(failures=failures, error=Deferred("451 try again later"))


def fake_world(mail: world.Mail | None = None, clock: Callable[[], float] = time) -> OnboardingWorld:
    """External systems in memory; `mail` is a server that accepts every mail by default."""
    departments = policy.load()
    return OnboardingWorld(MockStock(departments), FilePolicy(departments), mail or FakeMail(), clock=clock)


def handle_record(
    topic: str,
    value: bytes | None,
    *,
    key: bytes | None = b"ada",
    headers: Sequence[tuple[str, bytes | None]] = (),
    partition: int = ADAS_PARTITION,
    offset: int = 7,
    timestamp: int = 1_700_000_000_000,
    mail: world.Mail | None = None,
    sent: SentMessages | None = None,
    table: FakeRows | None = None,
) -> tuple[SentMessages, FakeRows]:
    """Process one record with the step of its topic, retries included; returns its outputs and the service's table.

    `timestamp` is in milliseconds. Pass `sent` and `table` to add to the outputs and rows of earlier records.
    """
    step, sent, table = ONBOARDING.on(topic), sent or SentMessages(), table or FakeRows()
    assert step is not None
    kept = Rows(table) if step.service == "provisioner" else effects.Effects(table)
    loop = StepLoop(ONBOARDING, step, fake_world(mail), PARTITIONS, kept)
    record = FakeRecord(topic, partition, offset, timestamp, key, value, list(headers))
    asyncio.run(handle_until_done(loop, sent, record))
    return sent, table


async def handle_until_done(loop: StepLoop, sent: SentMessages, record: Record) -> None:
    """Process a record with all of its attempts, without the delays between them."""
    later = await loop.handle(sent, None, record)
    while later is not None:
        later = await loop.handle(sent, None, record, later.state)


def value_on(topic: str) -> bytes:
    """The value of the record on this topic in Ada's saga."""
    return encode(request_to(topic))


def compensation_value() -> bytes:
    """The value of the request to `retract` or `revoke`, after an operator has cancelled Ada's saga."""
    request = request_to("authorize")
    visit = replace_fields(request.history[0], step="authorize", outcome="cancelled", reason="cancelled by ana")
    slip = Slip(["deprovision"], [], undoing=True)
    return encode(replace_fields(request, history=[*request.history, visit], slip=slip))


def last_visit(sent: SentMessages) -> Visit:
    """The last entry in the history of the last message that was sent."""
    return decode(Message, sent.messages[-1][2]).history[-1]


def effects_row(table: FakeRows) -> Effects:
    """The row of Ada's saga in the table `effects`."""
    return decode(Effects, table.stored[ADAS_PARTITION, b"ada"])


def waiting_request(table: FakeRows, step: str = "notify") -> Waiting | None:
    """The request to this step that waits outside its partition, if any."""
    return effects_row(table).waiting.get(step)


def republish(
    table: FakeRows, mail: FakeMail, entry: Waiting | None = None, sent: SentMessages | None = None
) -> tuple[SentMessages, FakeRows]:
    """Process the mail request that waits in the table (or `entry`) as if it had been published again."""
    waiting = entry or waiting_request(table)
    assert waiting is not None
    value, headers = record_of(waiting)
    return handle_record("notify", value, headers=headers, mail=mail, table=table, sent=sent)


def table_with_deferred_mail() -> FakeRows:
    """The Notifier's table after Ada's mail was deferred five times: its request waits outside its partition."""
    headers = [("traceparent", TRACEPARENT), ("x", b"\xff\x00")]
    sent, table = handle_record("notify", value_on("notify"), mail=greylisting_mail(), headers=headers)
    assert sent.topics == [SIGNALS] * 5
    return table


def dead_letter_in(sent: SentMessages) -> DeadLetter:
    """The dead letter that was sent, which must be the only message."""
    [(topic, _key, _value, headers)] = sent.messages
    assert topic == DLQ
    return decode(DeadLetter, dict(headers)[DEAD_LETTER])
