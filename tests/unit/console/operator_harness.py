"""The operator's actions on a real index, with topics in memory, a broker that can fail, and a simulated clock."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from saga_app.console.index.query import Queries
from saga_app.console.operator.action_request import ActionRequest
from saga_app.console.operator.operator import Operator
from saga_app.saga import operator_signals
from saga_app.saga.codec import decode, encode
from saga_app.saga.messages import SIGNALS, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.record_id import RecordId
from saga_app.saga.times import utc
from saga_app.stream import NotAcknowledged
from saga_app.stream.produce.sender import Message as Outgoing
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics
from tests.unit.console.index_harness import IndexHarness


class OperatorHarness:
    """An `Operator` whose sender and record lookup are this object.

    `sent`: the messages that the broker has acknowledged since the last `run_provisioner`. `sent_at`: the time of each
    message (seconds). `accepted`: ids of new users who are not in the index yet; they appear in it during a sleep.
    A test may set `max_sent` (the broker becomes unavailable after that many messages), `not_ready_reason` and
    `no_room_reason`.
    """

    def __init__(self, index: IndexHarness, topics: FakeTopics) -> None:
        self.index, self.topics = index, topics
        self.sent: list[Outgoing] = []
        self.sent_at: list[float] = []
        self.max_sent = 10**9
        self.not_ready_reason: str | None = None
        self.no_room_reason: str | None = None
        self.accepted: set[str] = set()
        self.now_s, self.slept_s = 100.0, 0.0
        self.queries = Queries(index.index, self.now)
        self.operator = Operator(
            queries=self.queries,
            sender=self,
            lookup=self,
            not_ready=lambda: self.not_ready_reason,
            accepted=self.accepted,
            headroom=lambda _count: self.no_room_reason,
            now=self.now,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )

    def now(self) -> datetime:
        """The current time, ISO 8601."""
        return utc(self.topics.start + self.now_s)

    async def sleep(self, seconds: float) -> None:
        """Advance the clock, and start the sagas of all accepted users."""
        self.now_s += seconds
        self.slept_s += seconds
        for id in list(self.accepted):
            self.accepted.discard(id)
            self.write(partial(self.topics.run_saga, id, steps=1))

    def write(self, write_records: Callable[[], object]) -> None:
        """Call a function that writes to `topics`, and read its records into the index."""
        first = len(self.topics.records)
        write_records()
        self.index.read(self.topics.records[first:])

    async def send_all(self, messages: Sequence[Outgoing]) -> None:
        acknowledged = messages[: max(0, self.max_sent - len(self.sent))]
        self.sent += acknowledged
        self.sent_at += [self.now_s] * len(acknowledged)
        if len(acknowledged) < len(messages):
            raise NotAcknowledged(range(len(acknowledged), len(messages)), len(messages), "no broker")

    async def records(self, places: Iterable[RecordId]) -> Mapping[RecordId, FakeRecord]:
        stored = {RecordId(each.topic, each.partition, each.offset): each for each in self.topics.records}
        return {place: stored[place] for place in places if place in stored}

    async def redrive(self, **fields: Any) -> dict[str, Any]:
        """Handle a redrive request with these fields; returns the body of the response."""
        return await self.operator.redrive(ActionRequest.model_validate(fields))

    async def roll_back(self, **fields: Any) -> dict[str, Any]:
        """Handle a rollback request with these fields; returns the body of the response."""
        return await self.operator.roll_back(ActionRequest.model_validate(fields))

    def signals(self) -> list[Signal]:
        """The operator signals in `sent`."""
        return [decode(Signal, message.value) for message in self.sent if message.topic == SIGNALS]

    async def run_provisioner(self) -> None:
        """Write the sent messages to the topics, and process the signals as the Provisioner does; empties `sent`."""
        self.now_s += 1
        for message in self.sent:
            self.write(partial(self._append, message))
            if message.topic == SIGNALS:
                await self._apply(decode(Signal, message.value))
        self.sent = []

    async def _apply(self, signal: Signal) -> None:
        row = (await self.queries.rows([signal.id]))[signal.id]
        decision = operator_signals.apply_operator_signal(ONBOARDING, row, signal)
        if decision is not None and decision.onward is not None:
            onward = Outgoing(decision.onward.topic, row.id.encode(), encode(decision.onward.message))
            self.write(partial(self._append, onward))

    def _append(self, message: Outgoing) -> None:
        id = message.key.decode() if message.key else None
        self.topics.write(message.topic, id, message.value or b"", self.now_s, message.headers or ())


def write_parked_sagas(topics: FakeTopics, *ids: str, error: str = "Permanent", at: float = 5.0) -> None:
    """Write sagas that are parked in the step `authorize`, one second after another."""
    for number, id in enumerate(ids):
        topics.run_saga(id, steps=1)
        topics.park(topics.records[-2], at + number, error=error)


def write_garbage(
    topics: FakeTopics, at: float = 5.0, topic: str = "notify", headers: Iterable[tuple[str, bytes | None]] = ()
) -> FakeRecord:
    """Write a record that cannot be decoded, and its dead letter; returns the record."""
    record = topics.write(topic, None, b"\xff\x00 no message", at, headers)
    topics.park(record, at, step=topic, error="BadMessage")
    return record
