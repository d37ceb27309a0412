"""The project's topics in memory, with the records that the services would write."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga import admission, decisions, machine, saga_row
from saga_app.saga.codec import decode, encode, replace_fields
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Message, Row, Signal, User
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Done, Outcome
from saga_app.saga.times import utc
from saga_app.stream import partition_of
from tests.builders import ADA, FACTS, START
from tests.fakes.record import FakeRecord

PARTITIONS = 3

#: More steps than any saga has.
ALL_STEPS = 100


class FakeTopics:
    """Topics with `PARTITIONS` partitions each. Times are in seconds after `start` (seconds since 1970).

    `records`: all records in the order in which they were written. `ends`: the end offset of each partition.
    """

    def __init__(self, start: float = START) -> None:
        self.start = start
        self.records: list[FakeRecord] = []
        self.ends: defaultdict[tuple[str, int], int] = defaultdict(int)

    @property
    def sorted_records(self) -> list[FakeRecord]:
        """All records in the order of their timestamps."""
        return sorted(self.records, key=lambda record: record.timestamp)

    def records_of(self, id: str) -> list[FakeRecord]:
        """The records whose key is this saga id, in the order of their timestamps."""
        return [record for record in self.sorted_records if record.key == id.encode()]

    def write(
        self, topic: str, id: str | None, value: bytes, at: float, headers: Iterable[tuple[str, bytes | None]] = ()
    ) -> FakeRecord:
        """Append a record with the saga id as its key; the key selects the partition, without a key it is 0."""
        key = None if id is None else id.encode()
        partition = partition_of(key, PARTITIONS) if key else 0
        offset = self.ends[topic, partition]
        self.ends[topic, partition] += 1
        record = FakeRecord(topic, partition, offset, int((self.start + at) * 1000), key, value, list(headers))
        self.records.append(record)
        return record

    def run_saga(
        self,
        id: str,
        user: User = ADA,
        begin: float = 0.0,
        pace: float = 1.0,
        outcomes: dict[str, Outcome] | None = None,
        steps: int = ALL_STEPS,
        idempotency: str | None = None,
    ) -> Row:
        """Write all records of a saga up to its end, or until `steps` steps are done; returns its last row.

        `pace`: seconds for each step. `outcomes`: by step name; the default is `Done`.
        """
        now = begin
        request = Message(v=1, id=id, user=user, idempotency=idempotency)
        self.write("new-user", id, encode(request), now)
        message, topic = admission.begin(ONBOARDING, request, self._time(now)), "new-user"
        row = self._write_row(None, saga_row.row_waiting_for(ONBOARDING, topic, message, self._time(now)), now)
        return self._run_steps(row, topic, message, now, pace, outcomes or {}, steps)

    def redrive(self, row: Row, record: FakeRecord, at: float, pace: float = 1.0) -> Row:
        """Write the parked request `record` again as attempt 2, and the rest of its saga; returns the last row."""
        message = replace_fields(decode(Message, record.value or b""), attempt=2)
        self.write(record.topic, row.id, encode(message), at)
        row = self._write_row(row, saga_row.row_waiting_for(ONBOARDING, record.topic, message, self._time(at)), at)
        return self._run_steps(row, record.topic, message, at, pace, {}, ALL_STEPS)

    def _run_steps(
        self, row: Row, topic: str, message: Message, now: float, pace: float, outcomes: dict[str, Outcome], steps: int
    ) -> Row:
        for _ in range(steps):
            step = ONBOARDING.on(topic)
            assert step is not None
            outcome = outcomes.get(step.name) or Done(FACTS.get(step.name, {}))
            answer = machine.answer_of(step, outcome, 1, self._time(now), self._time(now), self._time(now + pace))
            now += pace
            after = machine.next_after(message, step, answer)
            if isinstance(after, decisions.End):
                return self._write_row(row, saga_row.row_ended(after, self._time(now)), now)
            message, topic = after.message, after.topic
            self.write(topic, row.id, encode(message), now)
            if step.service == "provisioner":
                row = self._write_row(row, saga_row.row_waiting_for(ONBOARDING, topic, message, self._time(now)), now)
        return row

    def _write_row(self, row: Row | None, news: Row, at: float) -> Row:
        row = saga_row.join(row, news)
        self.write(ROWS_CHANGELOG, row.id, encode(row), at + 0.001)
        return row

    def _time(self, at: float) -> datetime:
        return utc(self.start + at)

    def write_failed_attempt(self, id: str, step: str, service: str, at: float, attempt: int = 1) -> Signal:
        """Write the signal of a failed attempt; the next attempt is due 8 s later."""
        signal = Signal(
            v=1,
            id=id,
            saga="onboarding",
            kind="failed",
            step=step,
            service=service,
            at=self._time(at),
            attempt=attempt,
            attempts=5,
            next_at=self._time(at + 8),
            reason="it did not answer",
        )
        self.write(SIGNALS, id, encode(signal), at)
        return signal

    def write_overdue(self, id: str, at: float) -> None:
        """Write the signal that the saga missed its deadline in the step `authorize`."""
        signal = Signal(
            v=1, id=id, saga="onboarding", kind="overdue", step="authorize", service="authorizer", at=self._time(at)
        )
        self.write(SIGNALS, id, encode(signal), at)

    def park(self, record: FakeRecord, at: float, step: str = "authorize", error: str = "Permanent") -> DeadLetter:
        """Write the dead letter of a record; returns its details."""
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
            received_at=self._time(at),
            at=self._time(at),
            id=id,
            saga="onboarding" if id else None,
        )
        self.write(DLQ, id, record.value or b"", at, [(DEAD_LETTER, encode(letter))])
        return letter


def copy_of(record: FakeRecord, offset: int, delay_s: float) -> FakeRecord:
    """The same record at another offset of its partition, written `delay_s` seconds later."""
    return replace(record, offset=offset, timestamp=record.timestamp + int(delay_s * 1000))
