"""The step loops of all services without Kafka: tables are dicts, and sent records are collected in a list."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.users import NewUser
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Step
from saga_app.saga.record import Headers
from saga_app.service import policy
from saga_app.service.memory.deadlines import Deadlines
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.onboarding_world import FilePolicy, LogMail, MockStock, OnboardingWorld
from saga_app.service.step import StepLoop
from saga_app.stream.consume.run import Item, Run
from saga_app.stream.partition import partition_of
from saga_app.stream.table.key_lock import KeyLock, KeyLocks

PARTITIONS = 12

#: The number of records that are handled together, as in a burst.
RUN_LENGTH = 100


@dataclass(slots=True)
class Record:
    """A consumed record, with the attributes that the stream layer provides."""

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
    """Collects the records that a step sends; each counts as acknowledged immediately."""

    origin: int = 0
    sent: list[tuple[str, bytes, bytes, Headers]] = field(default_factory=list)

    def send(self, topic: str, key: Any, value: Any, headers: Any = None, partition: Any = None) -> None:
        self.sent.append((topic, key, value, headers or ()))

    async def acknowledged(self) -> None:
        """Return immediately."""


class Table:
    """A table whose rows are in a dict; it counts the bytes written."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, bytes], bytes | None] = {}
        self.locks: KeyLocks = {}
        self.written_bytes = 0

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get((partition, key))

    def write(self, _receipt: Any, partition: int, key: bytes, value: bytes | None) -> None:
        self.rows[partition, key] = value
        self.written_bytes += len(key) + len(value or b"")

    def lock(self, partition: int, key: bytes) -> KeyLock:
        return KeyLock(self.locks, (partition, key))

    async def wait_until_owned(self) -> None:
        """Return immediately: every partition is owned."""


def step_loops() -> dict[str, StepLoop]:
    """The loops of all forward steps by topic, in the order of the plan, without lag or injected faults."""
    departments = policy.load(None)
    world = OnboardingWorld(MockStock(departments), FilePolicy(departments), LogMail())
    rows = Rows(Table(), Deadlines(ONBOARDING, 60.0).row_written)
    return {step.topic: _loop(step, world, rows) for step in ONBOARDING.steps}


def _loop(step: Step, world: OnboardingWorld, rows: Rows) -> StepLoop:
    if step.service == "provisioner":
        return StepLoop(ONBOARDING, step, world, PARTITIONS, rows)
    return StepLoop(ONBOARDING, step, world, PARTITIONS, Effects(Table()))


def first_records(users: Sequence[NewUser]) -> list[Record]:
    """The records of these users on the topic of the first step."""
    topic, now_ms = ONBOARDING.steps[0].topic, int(time.time() * 1000)
    return [
        Record(topic, partition_of(user.id, PARTITIONS), offset, user.id, user.value, (), now_ms)
        for offset, user in enumerate(users)
    ]


async def handle(loop: StepLoop, records: Sequence[Record]) -> list[Record]:
    """Run the step on the records in runs, as the pool does. Returns the sent records."""
    sent = []
    for start in range(0, len(records), RUN_LENGTH):
        outputs, records_of_run = Outputs(), records[start : start + RUN_LENGTH]
        batch = cast(Any, SimpleNamespace(records=records_of_run))
        items = [Item(batch, index) for index in range(len(records_of_run))]
        await loop.handle_run(Run(cast(Any, outputs), items, deque()))
        for record, (topic, key, value, headers) in zip(records_of_run, outputs.sent, strict=False):
            sent.append(Record(topic, record.partition, record.offset, key, value, headers, record.timestamp))
    return sent
