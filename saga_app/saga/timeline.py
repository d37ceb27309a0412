"""The timeline of a saga, computed from its records, and the sentence that explains its current state."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from saga_app.saga.deadline import planned_retry
from saga_app.saga.messages import DLQ, SIGNALS, Body, Message, Parked, Row, Signal, Visit
from saga_app.saga.plan import Plan
from saga_app.saga.times import between, iso, span


@dataclass(slots=True)
class DecodedRecord:
    """A decoded record with its position, which is the evidence for its timeline entries."""

    topic: str
    partition: int
    offset: int
    at: datetime
    body: Body

    @property
    def id(self) -> str | None:
        """The saga that the record belongs to; None for an unreadable dead letter."""
        return self.body.letter.id if isinstance(self.body, Parked) else self.body.id


@dataclass(slots=True)
class Entry:
    """One line of a saga's timeline."""

    at: datetime
    topic: str
    partition: int
    offset: int
    service: str
    step: str
    kind: str
    attempt: int
    data: dict[str, Any] = field(default_factory=dict)


def entries(plan: Plan, record: DecodedRecord) -> list[Entry]:
    """The timeline entries of one record: the result of the previous step, and the request for the next one.

    A changelog record has entries only if its saga has ended: the end, and the result of the last compensation.
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


def _entry(
    record: DecodedRecord, at: datetime, service: str, step: str, kind: str, attempt: int, data: dict[str, Any]
) -> Entry:
    return Entry(at, record.topic, record.partition, record.offset, service, step, kind, attempt, data)


def _outcome(record: DecodedRecord, history: list[Visit], facts: dict[str, Any]) -> list[Entry]:
    """The result of the previous step. A cancellation has no entry here, because its signal has one."""
    if not history or history[-1].outcome == "cancelled":
        return []
    last = history[-1]
    began_at = min(last.started_at, last.ended_at)  # clock skew must not make a duration negative
    data = {"started_at": began_at, "received_at": last.received_at, "facts": facts, "reason": last.reason}
    return [_entry(record, last.ended_at, last.service, last.step, last.outcome, last.attempts, data)]


def _request(plan: Plan, record: DecodedRecord, message: Message) -> Entry:
    step = plan.on(record.topic)
    service, name = (step.service, step.name) if step else ("", record.topic)
    return _entry(record, record.at, service, name, "requested", message.attempt, {})


def _ending(record: DecodedRecord, row: Row) -> list[Entry]:
    """The end of a saga, preceded by the result of the last compensation, which no message carries."""
    last = [] if row.state == "completed" else _outcome(record, row.history, row.facts)
    at = row.ended_at or row.updated_at
    data = {"duration": between(row.started_at, at), "reason": row.reason, "facts": row.facts}
    service = row.history[-1].service if row.history else ""
    return [*last, _entry(record, at, service, row.step, row.state, row.attempt, data)]


def story(plan: Plan, records: Iterable[DecodedRecord]) -> list[Entry]:
    """The complete timeline in causal order. A record that was read or sent twice has its entries once."""
    records = list(records)
    depths = {_requested_step(plan, r): len(r.body.history) for r in records if isinstance(r.body, Message)}
    found: dict[tuple[Any, ...], Entry] = {}
    for record in sorted(records, key=lambda record: _place(record, depths)):
        for entry in entries(plan, record):
            found.setdefault(_deduplication_key(record, entry), entry)
    return list(found.values())


def _requested_step(plan: Plan, record: DecodedRecord) -> str:
    step = plan.on(record.topic)
    return step.name if step else record.topic


def _place(record: DecodedRecord, depths: dict[str, int]) -> tuple[float, datetime, int]:
    """Sort key for causal order: the length of the history, which grows with every step, then the time."""
    body = record.body
    if isinstance(body, Row):
        return (math.inf, body.updated_at, record.offset)
    if isinstance(body, Signal):
        return (depths.get(body.step, math.inf), body.at, record.offset)
    if isinstance(body, Parked):
        return (depths.get(body.letter.step, math.inf), body.letter.at, record.offset)
    return (len(body.history), record.at, record.offset)


def _deduplication_key(record: DecodedRecord, entry: Entry) -> tuple[Any, ...]:
    """Of entries with the same key only the first is kept. Signals and dead letters are never duplicates."""
    if record.topic in (SIGNALS, DLQ):
        return (record.topic, record.partition, record.offset)
    if isinstance(record.body, Row):
        return (record.topic, entry.kind)
    return (record.topic, entry.kind, entry.step, entry.attempt)


ENDINGS = {
    "completed": "completed in {duration} s",
    "rolled-back": "rolled back: {reason}",
    "rollback-incomplete": "rollback incomplete: {failed}; reason for the rollback: {reason}",
}


def why(plan: Plan, row: Row, now: datetime) -> str:
    """One sentence: what the saga waits for, or how it ended. `now`: the current time."""
    if row.ended:
        duration = between(row.started_at, row.ended_at or row.updated_at)
        reason = row.reason or "no reason given"
        ending = ENDINGS[row.state].format(duration=f"{duration:.1f}", reason=reason, failed=_failed(row))
        return ending + _late(row)
    if row.state == "parked":
        late = "overdue, " if row.overdue else ""
        return f"{late}parked at {row.step}: {row.reason or 'no reason given'}; waiting for an operator"
    return _retrying(plan, row, now) or _waiting(plan, row, now)


def _failed(row: Row) -> str:
    """The failed compensations. Every history entry after the first denial is a compensation."""
    turn = next((place for place, line in enumerate(row.history) if line.outcome != "done"), len(row.history))
    failed = [line for line in row.history[turn + 1 :] if line.outcome != "done"]
    return " and ".join(f"{line.step} failed ({line.reason})" for line in failed)


def _late(row: Row) -> str:
    late = between(row.due_at, row.ended_at) if row.due_at and row.ended_at else 0.0
    return f", {late:.1f} s late" if late > 0 else ""


def _waiting(plan: Plan, row: Row, now: datetime) -> str:
    service = next(
        (s.service for s in plan.steps + plan.compensations if s.name == row.step), "unknown service"
    ).capitalize()
    since = between(row.history[-1].ended_at if row.history else row.started_at, now)
    return f"{_prefix(row)}waits for the {service} to {row.step}, for {since:.1f} s"


def _retrying(plan: Plan, row: Row, now: datetime) -> str | None:
    """Which attempt failed, why, and when the next one is due; None if no retry is planned."""
    failed = planned_retry(plan, row)
    if failed is None or failed.next_at is None:
        return None
    wait = (failed.next_at - now).total_seconds()
    due = f"in {span(wait)}" if wait > 0 else f"due {span(-wait)} ago"
    attempt = f"attempt {failed.attempt} of {failed.attempts} by the {failed.service.capitalize()}"
    return f"{_prefix(row)}retrying: {attempt} failed: {failed.reason}; next {due}, at {iso(failed.next_at)}"


def _prefix(row: Row) -> str:
    late = "overdue, " if row.overdue else ""
    return late + (f"rolling back ({row.reason}), " if row.state == "rolling-back" else "")
