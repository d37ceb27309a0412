"""Builds the records that the services leave on the topics, as input for the auditor."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal, TypeVar

from saga_app.active_plan import READS, ROWS_CHANGELOG
from saga_app.audit import Report, audit_records
from saga_app.saga import decisions, machine, operator_signals, saga_row
from saga_app.saga.codec import decode, encode, replace_fields
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Message, Parked, Row, Signal, Visit
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Denied, Done, Outcome, Step
from tests.builders import ADA, FACTS, START, at, requested
from tests.fakes.record import FakeRecord

#: The topics for whose requests the Provisioner writes a row.
ROW_TOPICS = ("new-user", "authorize", "deprovision")

OperatorAction = Literal["redriven", "cancelled"]
Body = TypeVar("Body", Message, Row)

#: By consumer group, the committed offset of each topic and partition.
CommittedOffsets = dict[str, dict[tuple[str, int], int]]

DENIED = Denied("no")
OTHER_USER = replace_fields(ADA, name="Grace Hopper")


class Topics:
    """The records of all topics. The consumer groups have committed all of them.

    `run_saga` writes the records of a whole saga; the other methods write or change single records. Each step takes one
    second of the simulated time `elapsed_s`.
    """

    def __init__(self) -> None:
        self.records: list[FakeRecord] = []
        self.elapsed_s = 0.0
        self.ends: Counter[tuple[str, int]] = Counter()

    def append(
        self,
        topic: str,
        id: str,
        value: Message | Row | Signal | bytes | None,
        headers: Iterable[tuple[str, bytes | None]] = (),
        partition: int = 0,
    ) -> FakeRecord:
        """Append a record, with the current time as its timestamp."""
        offset = self.ends[topic, partition]
        self.ends[topic, partition] += 1
        value = value if isinstance(value, bytes) or value is None else encode(value)
        timestamp = int((START + self.elapsed_s) * 1000)
        self.records.append(FakeRecord(topic, partition, offset, timestamp, id.encode(), value, [*headers]))
        return self.records[-1]

    def append_request(self, topic: str, message: Message) -> Message:
        """Append a request, and the row if the Provisioner writes one for it."""
        self.append(topic, message.id, message)
        if topic in ROW_TOPICS:
            self.append_row(saga_row.row_waiting_for(ONBOARDING, topic, message, at(self.elapsed_s)))
        return message

    def append_row(self, row: Row) -> Row:
        """Append a row to the changelog."""
        self.append(ROWS_CHANGELOG, row.id, row)
        return row

    def run_saga(self, id: str = "ada", outcomes: dict[str, Outcome] | None = None) -> Row:
        """Run a saga from its first request to its end. Returns the final row.

        `outcomes`: the outcome of each step that is not done, by step name.
        """
        return self.run_from("new-user", self.append_request("new-user", requested(id)), outcomes)

    def run_from(self, topic: str, message: Message, outcomes: dict[str, Outcome] | None = None) -> Row:
        """Continue a saga after this request to its end. Returns the final row."""
        while True:
            after = self._take_step(topic, message, outcomes)
            if isinstance(after, decisions.End):
                return self.append_row(saga_row.row_ended(after, at(self.elapsed_s)))
            topic, message = after.topic, self.append_request(after.topic, after.message)

    def run_until(self, stop: str, id: str = "ada") -> Message:
        """Run a saga until its request to the topic `stop`. Returns that request, which is not on the topic yet."""
        topic, message = "new-user", self.append_request("new-user", requested(id))
        while True:
            after = self._take_step(topic, message, None)
            assert isinstance(after, decisions.Next)
            if after.topic == stop:
                return after.message
            topic, message = after.topic, self.append_request(after.topic, after.message)

    def _take_step(
        self, topic: str, message: Message, outcomes: dict[str, Outcome] | None
    ) -> decisions.Next | decisions.End:
        self.elapsed_s += 1
        step = step_on(topic)
        outcome = (outcomes or {}).get(step.name) or Done(FACTS.get(step.name, {}))
        began_at, ended_at = at(self.elapsed_s), at(self.elapsed_s + 0.5)
        return machine.next_after(message, step, machine.answer_of(step, outcome, 1, began_at, began_at, ended_at))

    def park(self, topic: str, message: Message) -> Row:
        """Append a dead letter of the last record of this topic, and the parked row. Returns the row."""
        row = saga_row.row_parked(ONBOARDING, self.append_dead_letter(topic, message))
        assert row is not None
        return self.append_row(row)

    def append_dead_letter(self, topic: str, message: Message | None, value: bytes = b"") -> Parked:
        """Append a dead letter of the last record of this topic. `value`: its value if the message is unreadable."""
        step = step_on(topic)
        letter = DeadLetter(
            v=1,
            topic=topic,
            partition=0,
            offset=self.ends[topic, 0] - 1,
            service=step.service,
            step=step.name,
            error="Permanent",
            reason="gone",
            attempts=1,
            received_at=at(self.elapsed_s),
            at=at(self.elapsed_s),
            id=message.id if message else None,
        )
        body = encode(message) if message else value
        self.append(DLQ, message.id if message else "", body, [(DEAD_LETTER, encode(letter))])
        return Parked(letter, message, body)

    def append_signal(self, kind: OperatorAction, row: Row) -> operator_signals.OperatorDecision | None:
        """Append an operator's signal. Returns the Provisioner's decision; None if the signal does not apply."""
        self.elapsed_s += 1
        signal = Signal(
            v=1,
            id=row.id,
            saga=row.saga,
            kind=kind,
            step=row.step,
            service="console",
            at=at(self.elapsed_s),
            attempt=row.attempt + (kind == "redriven"),
            by="ana",
        )
        self.append(SIGNALS, row.id, signal)
        return operator_signals.apply_operator_signal(ONBOARDING, row, signal)

    def run_after_signal(self, kind: OperatorAction, row: Row) -> Row:
        """Append an operator's signal, and continue the saga to its end. Returns the final row."""
        decision = self.append_signal(kind, row)
        assert decision is not None
        assert decision.onward is not None
        self.append_row(decision.row)
        self.append(decision.onward.topic, row.id, decision.onward.message)
        return self.run_from(decision.onward.topic, decision.onward.message)

    def index_of(self, topic: str, number: int = -1) -> int:
        """The index in `records` of a record of this topic, by default the last one."""
        return [n for n, record in enumerate(self.records) if record.topic == topic][number]

    def remove(self, topic: str, number: int = -1) -> FakeRecord:
        """Remove a record of this topic, by default the last one, and return it."""
        return self.records.pop(self.index_of(topic, number))

    def change(self, kind: type[Body], topic: str, change: Callable[[Body], Body], number: int = -1) -> None:
        """Replace a record of this topic, by default the last one."""
        index = self.index_of(topic, number)
        record = self.records[index]
        self.records[index] = replace(record, value=encode(change(decode(kind, record.value))))

    def change_all(self, change: Callable[[Message | Row], Message | Row]) -> None:
        """Replace every request and every row."""
        for index, record in enumerate(self.records):
            if record.topic not in (DLQ, SIGNALS):
                is_row = record.topic == ROWS_CHANGELOG
                body = decode(Row, record.value) if is_row else decode(Message, record.value)
                self.records[index] = replace(record, value=encode(change(body)))

    def committed(self) -> CommittedOffsets:
        """The committed offsets of groups that have read everything."""
        return {
            group: {place: end for place, end in self.ends.items() if place[0] in topics}
            for group, topics in READS.items()
        }

    def audit(self, **settings: Any) -> Report:
        """Audit the records; `settings` are those of `audit_records`."""
        return audit_records(self.records, self.committed(), **settings)

    def findings(self, **settings: Any) -> dict[str, str]:
        """Audit the records. Returns the sentence of a finding for each kind."""
        return {finding.kind: finding.sentence for finding in self.audit(**settings).findings}


def step_on(topic: str) -> Step:
    """The step, or the compensation, whose requests are on this topic."""
    step = ONBOARDING.on(topic)
    assert step is not None
    return step


def completed() -> Topics:
    """One saga that completed without retries."""
    topics = Topics()
    topics.run_saga()
    return topics


def rolled_back() -> Topics:
    """A saga that was rolled back because the mail was refused."""
    topics = Topics()
    topics.run_saga(outcomes={"notify": DENIED})
    return topics


def rolled_back_incompletely() -> Topics:
    """A saga whose compensation `revoke` failed permanently."""
    topics = Topics()
    topics.run_saga(outcomes={"notify": DENIED, "revoke": DENIED})
    return topics


def denied_without_policy() -> Topics:
    """A saga that was rolled back because the department has no policy."""
    topics = Topics()
    topics.run_saga(outcomes={"authorize": DENIED})
    return topics


def parked_at_authorize() -> tuple[Topics, Row]:
    """A saga that is parked at authorize, and its row."""
    topics = Topics()
    message = topics.run_until("authorize")
    return topics, topics.park("authorize", topics.append_request("authorize", message))


def redriven() -> Topics:
    """A saga that was parked and redriven, and completed."""
    topics, row = parked_at_authorize()
    topics.run_after_signal("redriven", row)
    return topics


def cancelled_while_parked() -> Topics:
    """A saga that was cancelled while it was parked."""
    topics, row = parked_at_authorize()
    topics.run_after_signal("cancelled", row)
    return topics


def cancelled_after_mail() -> Topics:
    """A saga that was cancelled after the mail was sent, although its row still waited for authorize."""
    topics = Topics()
    message = topics.run_until("notified")
    row = decode(Row, topics.records[topics.index_of(ROWS_CHANGELOG)].value)
    topics.append_request("notified", message)
    topics.run_after_signal("cancelled", row)
    return topics


def waiting_for_retry() -> Topics:
    """A saga whose mail was deferred: its request is committed, and waits ten minutes for attempt 7 of 16."""
    topics = Topics()
    message = topics.run_until("notify")
    topics.append("notify", message.id, message)
    failed = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="failed",
        step="notify",
        service="notifier",
        at=at(topics.elapsed_s),
        attempt=6,
        attempts=16,
        next_at=at(topics.elapsed_s + 600),
        reason="451",
    )
    topics.append(SIGNALS, message.id, failed)
    return topics


def visit(step: str, outcome: Literal["done", "denied", "failed", "cancelled"] = "done") -> Visit:
    """A history entry."""
    return Visit(
        step=step,
        service="provisioner",
        attempts=1,
        received_at=at(0),
        started_at=at(0),
        ended_at=at(0),
        outcome=outcome,
    )
