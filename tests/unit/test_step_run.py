"""Records that are handled together lead to the same outputs and rows as records that are handled one by one."""

import asyncio
from collections import defaultdict, deque
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saga_app.saga.codec import encode, replace_fields
from saga_app.saga.messages import DLQ
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.retry import Permanent, Transient
from saga_app.service.fault_injection import FaultInjection
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.step import StepLoop
from saga_app.stream.consume.run import Item, Run
from tests.builders import request_to
from tests.fakes.record import FakeRecord
from tests.unit.step_harness import FakeMail, FakeRows, SentMessages, fake_world

#: Records of all partitions are in one run here, so that one of another partition is misplaced.
PARTITIONS = 1

IDS = ("ada", "bob", "cleo", "dan", "eve")

KINDS = ("request", "request", "misplaced", "garbage")

#: What the mail server does with the mails of these users.
FATES = {"bob": "waits", "cleo": "refuses", "dan": "is down", "eve": "has a bug"}


class MailWithFates(FakeMail):
    """A mail server that accepts a repeated mail once, and behaves as `FATES` says."""

    def __init__(self) -> None:
        super().__init__(is_idempotent=True)

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        fate = FATES.get(to.partition("@")[0])
        if fate == "waits":
            await asyncio.sleep(0)
        elif fate == "refuses":
            raise Permanent("no such mailbox")
        elif fate == "is down":
            raise Transient("timed out")
        elif fate == "has a bug":
            raise KeyError(key)
        return None


class OutputsOfRun(SentMessages):
    """The outputs of a run; `by_record` are the topics to which each record has sent."""

    def __init__(self) -> None:
        super().__init__()
        self.origin, self.by_record = 0, defaultdict[int, list[str]](list)

    def send(self, topic: str, *rest: Any, **named: Any) -> None:
        super().send(topic, *rest, **named)
        self.by_record[self.origin].append(topic)


class NeverAcknowledged(OutputsOfRun):
    """Outputs of a broker that does not answer."""

    async def acknowledged(self) -> None:
        await asyncio.Event().wait()


class Result(NamedTuple):
    """What handling some records led to."""

    messages: dict[
        tuple[str, bytes | None], list[tuple[Any, ...]]
    ]  #: by topic and key, in order (dead letters: in any)
    rows: dict[tuple[int, bytes], bytes]
    retries: set[int]
    by_record: dict[int, list[str]]


def loop_on(topic: str, table: FakeRows, faults: FaultInjection | None) -> StepLoop:
    step = ONBOARDING.on(topic)
    assert step is not None
    kept = Rows(table) if step.service == ONBOARDING.initiator else Effects(table)
    world = fake_world(MailWithFates(), clock=lambda: 1_700_000_100.0)
    return StepLoop(ONBOARDING, step, world, PARTITIONS, kept, faults=faults)


def new_run(outputs: OutputsOfRun, records: list[FakeRecord]) -> Run:
    batch = cast(Any, SimpleNamespace(records=records))
    return Run(cast(Any, outputs), [Item(batch, index) for index in range(len(records))], deque())


def handle(topic: str, records: list[FakeRecord], together: bool, faults: FaultInjection | None = None) -> Result:
    """Handle records as the pool does, `together` or one by one."""
    table, outputs = FakeRows(), OutputsOfRun()
    loop, retries = loop_on(topic, table, faults), set[int]()

    async def handle_all() -> None:
        items = deque((index, None) for index in range(len(records)))
        if together:
            run = new_run(outputs, records)
            await loop.handle_run(run)
            retries.update(number for number, at in run.unfinished.items() if at is not None)
            if run.waiting is not None:
                outputs.origin = run.waiting[0]
                await run.waiting[1](cast(Any, outputs))
            items = deque((item.position, item.state) for item in run.left)
        for index, progress in items:
            outputs.origin = index
            if await loop.handle(outputs, None, records[index], progress):
                retries.add(index)

    asyncio.run(handle_all())
    assert not table.locks, "a saga is still locked"
    messages = defaultdict[tuple[str, bytes | None], list[tuple[Any, ...]]](list)
    for topic_sent, key, value, headers in outputs.messages:
        messages[topic_sent, key].append((value, sorted(headers)))
    for letters in [messages[place] for place in messages if place[0] == DLQ]:
        letters.sort()  # of independent records
    return Result(messages, table.stored, retries, outputs.by_record)


def record(topic: str, offset: int, id: str, kind: str = "request") -> FakeRecord:
    """A record of this user's saga: a request, the same for another partition, or garbage.

    Each has another address, so that it matters which record of a saga is handled first.
    """
    request = request_to(topic)
    user = replace_fields(request.user, email=f"{id}@{offset}.example.com")
    if topic == "new-user" and id == "eve":
        user = replace_fields(user, department="Unheard-of")
    value = b"?" if kind == "garbage" else encode(replace_fields(request, id=id, user=user))
    partition = 1 if kind == "misplaced" else 0
    return FakeRecord(topic, partition, offset, 1_700_000_000_000, id.encode(), value, [])


@pytest.mark.parametrize("topic", ["new-user", "authorize", "notify", "notified"])
@pytest.mark.parametrize("faults", [None, FaultInjection(lag=(0.1, 2.0)), FaultInjection(flaky=0.5, error=0.2)])
@settings(max_examples=30)
# Both requests of ada leave the run, the second one at an earlier stage than the first.
@example([("bob", "request"), ("ada", "request"), ("ada", "request")])
@given(st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(KINDS)), min_size=1, max_size=12))
def test_records_lead_to_the_same_together_and_one_by_one(
    topic: str, faults: FaultInjection | None, drawn: list[tuple[str, str]]
) -> None:
    records = [record(topic, offset, id, kind) for offset, (id, kind) in enumerate(drawn)]
    assert handle(topic, records, together=True, faults=faults) == handle(topic, records, together=False, faults=faults)


def test_what_a_record_sends_is_attributed_to_it() -> None:
    """The broker may refuse it, and then this record is parked, and no other."""
    records = [record("notify", 0, "ada"), record("notify", 1, "ada", "garbage"), record("notify", 2, "cleo")]
    found = handle("notify", records, together=True)
    assert found.by_record == {0: ["notified"], 1: [DLQ], 2: [DLQ]}


def test_a_record_that_waits_holds_back_no_other() -> None:
    """Those before it are finished without it, and those after it get tasks of their own."""
    records = [record("notify", offset, id) for offset, id in enumerate(("ada", "bob", "cleo"))]
    outputs, own_outputs = OutputsOfRun(), OutputsOfRun()
    run = new_run(outputs, records)

    async def handle_all() -> None:
        await loop_on("notify", FakeRows(), None).handle_run(run)
        assert run.handled == [0]
        assert outputs.by_record == {0: ["notified"]}
        assert [item.position for item in run.left] == [2]
        assert run.waiting is not None
        number, rest = run.waiting
        assert number == 1
        await rest(cast(Any, own_outputs))

    asyncio.run(handle_all())
    assert own_outputs.topics == ["notified"]


def test_a_run_that_is_cancelled_leaves_no_saga_locked() -> None:
    """Its partition may return to this worker, and the sagas would be stuck."""
    table, outputs = FakeRows(), NeverAcknowledged()
    run = new_run(outputs, [record("notify", offset, id) for offset, id in enumerate(("dan", "bob"))])
    loop = loop_on("notify", table, None)
    loop.memory.can_delay = lambda _job: True  # type: ignore[method-assign, assignment]

    async def cancel() -> None:
        running = asyncio.ensure_future(loop.handle_run(run))
        await asyncio.sleep(0)
        assert len(table.locks) == 2, "the failed attempt is not stored yet, and the other waits"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(cancel())
    assert not table.locks
