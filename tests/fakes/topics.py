"""The topics as the services would have written them, in memory, for whoever reads them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga import machine
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Message, Row, Signal, User, decode, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Done, Outcome
from saga_app.saga.times import epoch, iso
from saga_app.stream import partition_of
from tests.builders import ADA, FACTS, START
from tests.fakes.record import FakeRecord

PARTITIONS = 3


class FakeTopics:
    """All that was written, in the order of time."""

    def __init__(self, start: float = START) -> None:
        self.start = start
        self.written: list[FakeRecord] = []
        self.ends: defaultdict[tuple[str, int], int] = defaultdict(int)

    def write(
        self, topic: str, id: str | None, value: bytes, at: float, headers: Iterable[tuple[str, bytes]] = ()
    ) -> FakeRecord:
        """One record, so many seconds after the start."""
        key = None if id is None else id.encode()
        partition = partition_of(key, PARTITIONS) if key else 0
        offset = self.ends[topic, partition]
        self.ends[topic, partition] += 1
        raw = FakeRecord(topic, partition, offset, int((self.start + at) * 1000), key, value, list(headers))
        self.written.append(raw)
        return raw

    @property
    def records(self) -> list[FakeRecord]:
        """By time."""
        return sorted(self.written, key=lambda raw: raw.timestamp)

    def saga(
        self,
        id: str,
        user: User = ADA,
        begin: float = 0.0,
        pace: float = 1.0,
        outcomes: dict[str, Outcome] | None = None,
        steps: int = 100,
        idempotency: str | None = None,
    ) -> Row:
        """A saga from its beginning, at most so many steps far; `pace` is seconds a step. Returns the last row."""
        now = begin
        request = Message(v=1, id=id, user=user, idempotency=idempotency)
        self.write("new-user", id, encode(request), now)
        message, topic = machine.begin(ONBOARDING, request, self._iso(now)), "new-user"
        row = self._note(None, machine.row_waiting_for(ONBOARDING, topic, message, self._iso(now)), now)
        return self._walk(row, topic, message, now, pace, outcomes or {}, steps)

    def redrive(self, row: Row, record: FakeRecord, at: float, pace: float = 1.0) -> Row:
        """A parked request is sent again with the next attempt, and its saga goes on to the end."""
        message = replace(decode(Message, record.value or b""), attempt=2)
        self.write(record.topic, row.id, encode(message), at)
        row = self._note(row, machine.row_waiting_for(ONBOARDING, record.topic, message, self._iso(at)), at)
        return self._walk(row, record.topic, message, at, pace, {}, 100)

    def _walk(
        self, row: Row, topic: str, message: Message, now: float, pace: float, outcomes: dict[str, Outcome], steps: int
    ) -> Row:
        for _ in range(steps):
            step = ONBOARDING.on(topic)
            assert step is not None
            outcome = outcomes.get(step.name) or Done(FACTS.get(step.name, {}))
            answer = machine.answer_of(step, outcome, 1, self._iso(now), self._iso(now), self._iso(now + pace))
            now += pace
            after = machine.next_after(message, step, answer)
            if isinstance(after, machine.End):
                return self._note(row, machine.row_ended(after, self._iso(now)), now)
            message, topic = after.message, after.topic
            self.write(topic, row.id, encode(message), now)
            if step.service == "provisioner":
                row = self._note(row, machine.row_waiting_for(ONBOARDING, topic, message, self._iso(now)), now)
        return row

    def _note(self, row: Row | None, news: Row, at: float) -> Row:
        row = machine.join(row, news)
        self.write(ROWS_CHANGELOG, row.id, encode(row), at + 0.001)
        return row

    def _iso(self, at: float) -> str:
        return iso(self.start + at)

    def failed(self, id: str, step: str, service: str, at: float, attempt: int = 1) -> Signal:
        """An attempt has failed."""
        signal = Signal(
            v=1,
            id=id,
            saga="onboarding",
            kind="failed",
            step=step,
            service=service,
            at=self._iso(at),
            attempt=attempt,
            attempts=5,
            next_at=self._iso(at + 8),
            reason="it did not answer",
        )
        self.write(SIGNALS, id, encode(signal), at)
        return signal

    def overdue(self, id: str, at: float) -> None:
        """The saga takes too long."""
        signal = Signal(1, id, "onboarding", "overdue", "authorize", "authorizer", self._iso(at))
        self.write(SIGNALS, id, encode(signal), at)

    def park(self, record: FakeRecord, at: float, step: str = "authorize", error: str = "Permanent") -> DeadLetter:
        """Into the dlq goes what stands in this record."""
        id = record.key.decode() if record.key and (record.value or b"").startswith(b"{") else None
        letter = DeadLetter(
            v=1,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            service="authorizer",
            step=step,
            error=error,
            reason="it will not work",
            attempts=1,
            received_at=self._iso(at),
            at=self._iso(at),
            id=id,
            saga="onboarding" if id else None,
        )
        self.write(DLQ, id, record.value or b"", at, [(DEAD_LETTER, encode(letter))])
        return letter


def again(record: FakeRecord, offset: int, later: float) -> FakeRecord:
    """The same record written once more."""
    return replace(record, offset=offset, timestamp=record.timestamp + int(later * 1000))


def seconds(time: str) -> float:
    """After the start."""
    return round(epoch(time) - START, 3)
