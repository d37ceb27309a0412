"""Our steps without Kafka: tables in a dict, and receipts that keep what they are told to send."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.users import NewUser
from saga_app.saga.messages import Headers
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Step
from saga_app.service import policy
from saga_app.service.memory.deadlines import Deadlines
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.onboarding_world import FilePolicy, LogMail, MockStock, OnboardingWorld
from saga_app.service.step import StepLoop
from saga_app.stream.partition import partition_of
from saga_app.stream.table.key_lock import KeyLock, KeyLocks

PARTITIONS = 12


@dataclass(slots=True)
class Record:
    """As the stream layer hands it over."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    timestamp_type: int = 1


@dataclass(slots=True)
class Outputs:
    """Everything is acknowledged at once."""

    sent: list[tuple[str, bytes, bytes, Headers]] = field(default_factory=list)

    def send(self, topic: str, key: Any, value: Any, headers: Any = None, partition: Any = None) -> None:
        self.sent.append((topic, key, value, headers or ()))

    async def acknowledged(self) -> None:
        """It is."""


class Table:
    """Rows in a dict."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, bytes], bytes | None] = {}
        self.locks: KeyLocks = {}
        self.written = 0  #: bytes

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get((partition, key))

    def write(self, _receipt: Any, partition: int, key: bytes, value: bytes | None) -> None:
        self.rows[partition, key] = value
        self.written += len(key) + len(value or b"")

    def locked(self, partition: int, key: bytes) -> KeyLock:
        return KeyLock(self.locks, (partition, key))

    async def owned(self) -> None:
        """They are."""


def services() -> dict[str, StepLoop]:
    """The loops of all steps ahead, by topic: no lag, nothing goes wrong."""
    departments = policy.load(None)
    world = OnboardingWorld(MockStock(departments), FilePolicy(departments), LogMail())
    rows = Rows(Table(), Deadlines(ONBOARDING, 60.0).row_written)
    return {step.topic: _loop(step, world, rows) for step in ONBOARDING.steps}


def _loop(step: Step, world: OnboardingWorld, rows: Rows) -> StepLoop:
    if step.service == "provisioner":
        return StepLoop(ONBOARDING, step, world, PARTITIONS, rows)
    return StepLoop(ONBOARDING, step, world, PARTITIONS, effects=Effects(Table()))


def first(users: Sequence[NewUser]) -> list[Record]:
    """Their records on the topic that begins."""
    topic, now = ONBOARDING.steps[0].topic, int(time.time() * 1000)
    return [Record(topic, partition_of(u.id, PARTITIONS), at, u.id, u.value, (), now) for at, u in enumerate(users)]


async def handle(loop: StepLoop, records: Sequence[Record]) -> list[Record]:
    """One after the other, as the pool runs what need not wait; the records that follow."""
    following = []
    for record in records:
        outputs = Outputs()
        await loop.handle(outputs, None, record)
        for topic, key, value, headers in outputs.sent:
            following.append(Record(topic, record.partition, record.offset, key, value, headers, record.timestamp))
    return following
