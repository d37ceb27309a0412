"""Topics with sagas on them, as the services leave them behind, for the auditor."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from saga_app.active_plan import READS, ROWS_CHANGELOG
from saga_app.audit import Report, audit_records
from saga_app.saga import machine
from saga_app.saga.messages import (
    DEAD_LETTER,
    DLQ,
    SIGNALS,
    DeadLetter,
    Message,
    Parked,
    Row,
    Signal,
    Visit,
    decode,
    encode,
)
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Denied, Done, Outcome
from tests.builders import ADA, FACTS, START, at, requested
from tests.fakes.record import FakeRecord

#: Where the Provisioner notes that a saga waits for this topic's step.
NOTES = ("new-user", "authorize", "deprovision")


class Topics:
    """`saga` lets one run to its end; the others do a part of it. Everything is committed."""

    def __init__(self) -> None:
        self.records: list[FakeRecord] = []
        self.second = 0.0
        self.next: Counter[tuple[str, int]] = Counter()

    def put(
        self, topic: str, id: str, value: Any, headers: Iterable[tuple[str, bytes]] = (), partition: int = 0
    ) -> FakeRecord:
        """A record of now."""
        offset = self.next[topic, partition]
        self.next[topic, partition] += 1
        value = value if isinstance(value, bytes) or value is None else encode(value)
        when = int((START + self.second) * 1000)
        self.records.append(FakeRecord(topic, partition, offset, when, id.encode(), value, [*headers]))
        return self.records[-1]

    def ask(self, topic: str, message: Message) -> Message:
        """A request, and the row that notes it if the Provisioner has to do with it."""
        self.put(topic, message.id, message)
        if topic in NOTES:
            self.note(machine.row_waiting_for(ONBOARDING, topic, message, at(self.second)))
        return message

    def note(self, row: Row) -> Row:
        """A row of the changelog."""
        self.put(ROWS_CHANGELOG, row.id, row)
        return row

    def saga(self, id: str = "ada", outcomes: dict[str, Outcome] | None = None) -> Row:
        """From its first request to its end."""
        return self.go_on("new-user", self.ask("new-user", requested(id)), outcomes)

    def go_on(self, topic: str, message: Message, outcomes: dict[str, Outcome] | None = None, stop: str = "") -> Any:
        """From this request on to the end, which is answered; or to before the topic `stop`, then the message."""
        while True:
            self.second += 1
            step = ONBOARDING.on(topic)
            assert step is not None
            outcome = (outcomes or {}).get(step.name) or Done(FACTS.get(step.name, {}))
            answer = machine.answer_of(step, outcome, 1, at(self.second), at(self.second), at(self.second + 0.5))
            after = machine.next_after(message, step, answer)
            if isinstance(after, machine.End):
                return self.note(machine.row_ended(after, at(self.second)))
            topic, message = after.topic, after.message
            if topic == stop:
                return message
            self.ask(topic, message)

    def park(self, topic: str, message: Message) -> Row:
        """It has become a dead letter, and its row says so."""
        row = machine.row_parked(ONBOARDING, self.bury(topic, message))
        assert row is not None
        return self.note(row)

    def bury(self, topic: str, message: Message | None, value: bytes = b"", offset: int | None = None) -> Parked:
        """A dead letter of the last record of this topic."""
        step = ONBOARDING.on(topic)
        assert step is not None
        letter = DeadLetter(
            v=1,
            topic=topic,
            partition=0,
            offset=self.next[topic, 0] - 1 if offset is None else offset,
            service=step.service,
            step=step.name,
            error="Permanent",
            reason="gone",
            attempts=1,
            received_at=at(self.second),
            at=at(self.second),
            id=message.id if message else None,
        )
        body = encode(message) if message else value
        self.put(DLQ, message.id if message else "", body, [(DEAD_LETTER, encode(letter))])
        return Parked(letter, message, body)

    def tell(self, kind: Any, row: Row) -> machine.OperatorDecision | None:
        """What an operator wants of a saga, and what it leads to, if it applies."""
        self.second += 1
        attempt = row.attempt + (kind == "redriven")
        signal = Signal(1, row.id, row.saga, kind, row.step, "console", at(self.second), attempt, by="ana")
        self.put(SIGNALS, row.id, signal)
        return machine.apply_operator_signal(ONBOARDING, row, signal)

    def turn(self, kind: Any, row: Row) -> Row:
        """The same, and the saga goes its new way to its end."""
        turn = self.tell(kind, row)
        assert turn is not None
        assert turn.onward is not None
        self.note(turn.row)
        self.put(turn.onward.topic, row.id, turn.onward.message)
        return self.go_on(turn.onward.topic, turn.onward.message)  # type: ignore[no-any-return]

    def place(self, topic: str, number: int = -1) -> int:
        """Where a record of this topic stands in `records`, the last one by default."""
        return [n for n, record in enumerate(self.records) if record.topic == topic][number]

    def drop(self, topic: str, number: int = -1) -> FakeRecord:
        """As if it had never been written."""
        return self.records.pop(self.place(topic, number))

    def change(self, kind: type[Any], topic: str, how: Callable[[Any], Any], number: int = -1) -> None:
        """Write a record otherwise than it was."""
        place = self.place(topic, number)
        old = self.records[place]
        self.records[place] = replace(old, value=encode(how(decode(kind, old.value))))

    def rewrite(self, how: Callable[[Any], Any]) -> None:
        """Write every message and every row otherwise than it was."""
        for n, record in enumerate(self.records):
            if record.topic not in (DLQ, SIGNALS):
                kind: type[Any] = Row if record.topic == ROWS_CHANGELOG else Message
                self.records[n] = replace(record, value=encode(how(decode(kind, record.value))))

    def committed(self) -> dict[str, dict[tuple[str, int], int]]:
        """Every group has read everything."""
        return {
            group: {place: end for place, end in self.next.items() if place[0] in topics}
            for group, topics in READS.items()
        }

    def audit(self, **settings: Any) -> Report:
        """What the auditor says."""
        return audit_records(self.records, self.committed(), **settings)

    def found(self, **settings: Any) -> dict[str, str]:
        """Its findings: a sentence of each kind."""
        return {finding.kind: finding.sentence for finding in self.audit(**settings).findings}


def cancelled_too_late() -> Topics:
    """A saga that was rolled back when the mail was out, though its row had only heard of the device."""
    topics = Topics()
    message = topics.go_on("new-user", topics.ask("new-user", requested()), stop="notified")
    row = decode(Row, topics.records[topics.place(ROWS_CHANGELOG)].value)
    topics.ask("notified", message)
    topics.turn("cancelled", row)
    return topics


def parked_at_authorize() -> tuple[Topics, Row]:
    """A saga that waits for somebody, and its row."""
    topics = Topics()
    message = topics.go_on("new-user", topics.ask("new-user", requested()), stop="authorize")
    return topics, topics.park("authorize", topics.ask("authorize", message))


def completed() -> Topics:
    """One saga without any trouble."""
    topics = Topics()
    topics.saga()
    return topics


def refused() -> Topics:
    """A saga that went back because the mail was refused."""
    topics = Topics()
    topics.saga(outcomes={"notify": NO})
    return topics


def visit(step: str, outcome: Any = "done", second: float = 0, reason: str | None = None) -> Visit:
    """A line of history."""
    return Visit(step, "somebody", 1, at(second), at(second), at(second), outcome, reason)


NO = Denied("no")
SOMEBODY_ELSE = replace(ADA, name="Somebody Else")
