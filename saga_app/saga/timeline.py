"""One saga's story, told from the records themselves, and the sentence that says why it is where it is."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from saga_app.saga.deadline import planned_retry
from saga_app.saga.messages import DLQ, SIGNALS, Body, Message, Parked, Row, Signal, Visit
from saga_app.saga.plan import Plan
from saga_app.saga.times import between, epoch, span


@dataclass(slots=True)
class Record:
    """A decoded record and where it stands: the proof of what the timeline says."""

    topic: str
    partition: int
    offset: int
    at: str
    body: Body

    @property
    def id(self) -> str | None:
        """The saga that it belongs to; None for a dead letter that nobody could read."""
        return self.body.letter.id if isinstance(self.body, Parked) else self.body.id


@dataclass(slots=True)
class Entry:
    """One line of a saga's timeline."""

    at: str
    topic: str
    partition: int
    offset: int
    service: str
    step: str
    kind: str
    attempt: int
    data: dict[str, Any] = field(default_factory=dict)


def entries(plan: Plan, record: Record) -> list[Entry]:
    """What a record tells: how the step before it ended, and what it asks for.

    A changelog record tells something only when its saga has ended: how, and how its last undo did.
    """
    body = record.body
    if isinstance(body, Signal):
        data = {name: getattr(body, name) for name in ("next_at", "reason", "attempts", "by", "due_at")}
        return [_entry(record, body.at, body.service, body.step, body.kind, body.attempt, data)]
    if isinstance(body, Parked):
        letter = body.letter
        data = {
            "reason": letter.reason,
            "error": letter.error,
            "from": f"{letter.topic}[{letter.partition}]@{letter.offset}",
        }
        return [_entry(record, letter.at, letter.service, letter.step, "parked", letter.attempts, data)]
    if isinstance(body, Row):
        return _ending(record, body) if body.ended else []
    return [*_outcome(record, body.history, body.facts), _request(plan, record, body)]


def _entry(record: Record, at: str, service: str, step: str, kind: str, attempt: int, data: dict[str, Any]) -> Entry:
    return Entry(at, record.topic, record.partition, record.offset, service, step, kind, attempt, data)


def _outcome(record: Record, history: list[Visit], facts: dict[str, Any]) -> list[Entry]:
    """How the step before this record ended; what an operator has cancelled is told by the signal."""
    if not history or history[-1].outcome == "cancelled":
        return []
    last = history[-1]
    began_at = min(last.started_at, last.ended_at)  # no step takes less than no time, whatever a clock has said
    data = {"started_at": began_at, "received_at": last.received_at, "facts": facts, "reason": last.reason}
    return [_entry(record, last.ended_at, last.service, last.step, last.outcome, last.attempts, data)]


def _request(plan: Plan, record: Record, message: Message) -> Entry:
    step = plan.on(record.topic)
    service, name = (step.service, step.name) if step else ("", record.topic)
    return _entry(record, record.at, service, name, "requested", message.attempt, {})


def _ending(record: Record, row: Row) -> list[Entry]:
    """How it ended; before that the last step of a way back, of which no message tells."""
    last = [] if row.state == "completed" else _outcome(record, row.history, row.facts)
    at = row.ended_at or row.updated_at
    data = {"duration": between(row.started_at, at), "reason": row.reason, "facts": row.facts}
    service = row.history[-1].service if row.history else ""
    return [*last, _entry(record, at, service, row.step, row.state, row.attempt, data)]


def story(plan: Plan, records: Iterable[Record]) -> list[Entry]:
    """The whole timeline in causal order; a record read twice, or sent twice, is told once."""
    records = list(records)
    depths = {_step_asked(plan, r): len(r.body.history) for r in records if isinstance(r.body, Message)}
    told: dict[tuple[Any, ...], Entry] = {}
    for record in sorted(records, key=lambda record: _place(record, depths)):
        for entry in entries(plan, record):
            told.setdefault(_sameness(record, entry), entry)
    return list(told.values())


def _step_asked(plan: Plan, record: Record) -> str:
    step = plan.on(record.topic)
    return step.name if step else record.topic


def _place(record: Record, depths: dict[str, int]) -> tuple[float, str, int]:
    """Causal order: the history that a record carries grows with every step; among equals the time decides."""
    body = record.body
    if isinstance(body, Row):
        return (math.inf, body.updated_at, record.offset)
    if isinstance(body, Signal):
        return (depths.get(body.step, math.inf), body.at, record.offset)
    if isinstance(body, Parked):
        return (depths.get(body.letter.step, math.inf), body.letter.at, record.offset)
    return (len(body.history), record.at, record.offset)


def _sameness(record: Record, entry: Entry) -> tuple[Any, ...]:
    """Two entries that say the same: of duplicates only the first counts, but every signal is news."""
    if record.topic in (SIGNALS, DLQ):
        return (record.topic, record.partition, record.offset)
    if isinstance(record.body, Row):
        return (record.topic, entry.kind)
    return (record.topic, entry.kind, entry.step, entry.attempt)


ENDINGS = {
    "completed": "completed in {duration} s",
    "rolled-back": "rolled back: {reason}",
    "rollback-incomplete": "the rollback is incomplete: {failed}; it was begun because of: {reason}",
}


def why(plan: Plan, row: Row, now: str) -> str:
    """One sentence: what the saga waits for, or how it has ended. `now` is an ISO time."""
    if row.ended:
        duration = between(row.started_at, row.ended_at or row.updated_at)
        reason = row.reason or "no reason given"
        told = ENDINGS[row.state].format(duration=f"{duration:.1f}", reason=reason, failed=_failed(row))
        return told + _late(row)
    if row.state == "parked":
        late = "overdue, " if row.overdue else ""
        return f"{late}parked at {row.step}: {row.reason or 'no reason given'}; it waits for somebody"
    return _retrying(plan, row, now) or _waiting(plan, row, now)


def _failed(row: Row) -> str:
    """The undos that have failed: what follows the first "no" is one."""
    turn = next((place for place, line in enumerate(row.history) if line.outcome != "done"), len(row.history))
    failed = [line for line in row.history[turn + 1 :] if line.outcome != "done"]
    return " and ".join(f"{line.step} has failed ({line.reason})" for line in failed)


def _late(row: Row) -> str:
    late = between(row.due_at, row.ended_at) if row.due_at and row.ended_at else 0.0
    return f", {late:.1f} s late" if late > 0 else ""


def _waiting(plan: Plan, row: Row, now: str) -> str:
    service = next((s.service for s in plan.steps + plan.compensations if s.name == row.step), "somebody").capitalize()
    since = between(row.history[-1].ended_at if row.history else row.started_at, now)
    return f"{_prefix(row)}waits for the {service} to {row.step}, for {since:.1f} s"


def _retrying(plan: Plan, row: Row, now: str) -> str | None:
    """Which attempt failed, why, and when the next one is due; None if none is planned."""
    failed = planned_retry(plan, row)
    if failed is None or failed.next_at is None:
        return None
    wait = epoch(failed.next_at) - epoch(now)
    due = f"in {span(wait)}" if wait > 0 else f"due {span(-wait)} ago"
    attempt = f"attempt {failed.attempt} of {failed.attempts} by the {failed.service.capitalize()}"
    return f"{_prefix(row)}retrying: {attempt} failed because {failed.reason}; next {due}, at {failed.next_at}"


def _prefix(row: Row) -> str:
    late = "overdue, " if row.overdue else ""
    return late + (f"rolling back ({row.reason}), " if row.state == "rolling-back" else "")
