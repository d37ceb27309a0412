"""Collects the evidence of each saga from records in any order."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from saga_app.active_plan import PLAN, ROWS_CHANGELOG, TOPICS
from saga_app.audit.evidence import (
    Evidence,
    History,
    Letter,
    Planned,
    SeenAction,
    SeenRequest,
    SeenRow,
    SlipSeen,
)
from saga_app.audit.route import FIRST, FIRST_FACT, LASTING_FACTS, NON_REPEATABLE_STEPS
from saga_app.saga.codec import BadMessage, parse
from saga_app.saga.messages import Message, Parked, Row, Signal, Slip, User, Visit
from saga_app.saga.record import Record
from saga_app.saga.record_id import RecordId

Kept = TypeVar("Kept")


#: A request with a longer delay between two attempts waits outside its partition (milliseconds).
MAX_HELD_MS = 30_000


class EvidenceCollector:
    """The evidence of all sagas. Call `take` with every record."""

    def __init__(self) -> None:
        self.records = 0
        self.newest = 0
        self.sagas: dict[str, Evidence] = {}
        #: Unreadable records, with the reason.
        self.unreadable: dict[RecordId, str] = {}
        #: The originals of all dead letters, and of those with an unreadable message.
        self.buried: set[RecordId] = set()
        self.refused: set[RecordId] = set()
        self.signals: dict[str, int] = {}
        #: Topics in routing slips that are not in the current plan.
        self.other_topics: set[str] = set()
        self._same: dict[Any, Any] = {}

    def take_all(self, records: Iterable[Record]) -> None:
        """Take all records; those of topics that belong to no saga are ignored."""
        others: list[Record] = []
        for raw in records:
            if raw.topic in TOPICS:
                self.take(raw)
            else:
                others.append(raw)
        for raw in others:
            if raw.topic in self.other_topics:
                self.take(raw)

    def take(self, raw: Record) -> None:
        """Take one record."""
        self.records += 1
        self.newest = max(self.newest, raw.timestamp)
        try:
            body = parse(raw.topic, raw.value, raw.headers, ROWS_CHANGELOG)
        except BadMessage as error:
            self.unreadable[RecordId(raw.topic, raw.partition, raw.offset)] = str(error)
            return
        if isinstance(body, Message):
            self._message(raw, body)
        elif isinstance(body, Row):
            self._row(raw, body)
        elif isinstance(body, Parked):
            self._letter(raw, body)
        else:
            self._signal(raw, body)

    def _saga(self, id: str, at: int) -> Evidence:
        saga = self.sagas.get(id)
        if saga is None:
            saga = self.sagas[id] = Evidence(id, at, at)
        saga.began, saga.newest = min(saga.began, at), max(saga.newest, at)
        return saga

    def _message(self, raw: Record, body: Message) -> None:
        saga = self._saga(body.id, raw.timestamp)
        user = _user(body.user.cleaned() if raw.topic == FIRST else body.user)
        asked = SeenRequest(raw.topic, raw.partition, raw.offset, raw.timestamp, body.attempt, user=user)
        if raw.topic != FIRST:  # there, clients may have written anything
            asked.history = self._history(saga, body.history)
            asked.device, asked.facts = self._facts(body.facts)
            asked.slip = self._slip(body.slip)
            _began(saga, body.started_at)
        saga.requests.append(asked)

    def _row(self, raw: Record, body: Row) -> None:
        saga = self._saga(body.id, raw.timestamp)
        device, facts = self._facts(body.facts)
        seen_row = SeenRow(
            *(raw.topic, raw.partition, raw.offset, raw.timestamp),
            *(self._one(body.state), body.ended, self._one(body.step), body.attempt),
            self._history(saga, body.history),
            _user(body.user),
            device,
            facts,
            self._slip(body.slip),
            _milliseconds(body.ended_at or body.updated_at),
            body.overdue,
        )
        _began(saga, body.started_at)
        saga.origin = body.origin or saga.origin
        saga.rows.append(seen_row)

    def _letter(self, raw: Record, body: Parked) -> None:
        letter, message = body.letter, body.message
        original = RecordId(letter.topic, letter.partition, letter.offset)
        self.buried.add(original)
        if message is None:
            self.refused.add(original)
            if letter.id is not None:
                self._saga(letter.id, raw.timestamp).unreadable_letters += (
                    RecordId(raw.topic, raw.partition, raw.offset),
                )
            return
        saga = self._saga(message.id, raw.timestamp)
        history = () if letter.topic == FIRST else self._history(saga, message.history)
        place = RecordId(raw.topic, raw.partition, raw.offset)
        found = Letter(place, original, raw.timestamp, letter.step, letter.error, message.attempt, history)
        saga.letters += (found,)

    def _signal(self, raw: Record, body: Signal) -> None:
        self.signals[body.kind] = self.signals.get(body.kind, 0) + 1
        saga = self._saga(body.id, raw.timestamp)
        if body.kind in ("redriven", "cancelled"):
            place = RecordId(raw.topic, raw.partition, raw.offset)
            saga.actions += (SeenAction(body.kind, place, raw.timestamp, body.attempt),)
        if body.kind == "failed" and body.next_at and (planned := _planned(body)).next_at - planned.at > MAX_HELD_MS:
            saga.planned += (planned,)

    def _history(self, saga: Evidence, visits: Sequence[Visit]) -> History:
        for visit in visits:
            if visit.outcome == "done" and visit.service != PLAN.initiator:
                _timed(saga, visit)
        turn = next((place for place, visit in enumerate(visits) if visit.outcome != "done"), len(visits))
        line = tuple([(visit.step, _outcome(visit, place > turn)) for place, visit in enumerate(visits)])
        return self._one(line)

    def _facts(self, facts: dict[str, Any]) -> tuple[str | None, tuple[tuple[str, str], ...]]:
        """The fact of the first step, and the lasting facts of other steps."""
        first = facts.get(FIRST_FACT) if FIRST_FACT else None
        others = tuple([(name, str(facts[name])) for name in LASTING_FACTS if facts.get(name) is not None])
        return None if first is None else self._one(str(first)), self._one(others)

    def _slip(self, slip: Slip | None) -> SlipSeen | None:
        if slip is None:
            return None
        seen = SlipSeen(tuple(slip.ahead), tuple(slip.back), slip.undoing)
        if seen not in self._same:
            self.other_topics.update({*seen.ahead, *seen.back} - {*TOPICS})
        return self._one(seen)

    def _one(self, value: Kept) -> Kept:
        """Intern a value, so that equal values share one object."""
        return self._same.setdefault(value, value)  # type: ignore[no-any-return]


def _outcome(visit: Visit, compensates: bool) -> str:
    """The outcome of a visit. A completed compensation with a reason had nothing to compensate."""
    return "nothing" if compensates and visit.reason and visit.outcome == "done" else visit.outcome


def _timed(saga: Evidence, visit: Visit) -> None:
    started_at = _milliseconds(visit.started_at)
    if visit.step in NON_REPEATABLE_STEPS and started_at not in saga.mails:
        saga.mails += (started_at,)
    if not visit.reason and started_at > saga.acted.get(visit.step, 0):
        saga.acted[visit.step] = started_at


def _planned(signal: Signal) -> Planned:
    """The planned attempt of a signal, with times by the clock of the service."""
    return Planned(signal.step, _milliseconds(signal.at), _milliseconds(signal.next_at or signal.at))


def _milliseconds(time: datetime) -> int:
    """Milliseconds since 1970."""
    return round(time.timestamp() * 1000)


def _user(user: User) -> int:
    return hash((user.name, user.email, user.department))


def _began(saga: Evidence, started_at: datetime | None) -> None:
    """Move the start of the saga back if this time is earlier."""
    if started_at is not None:
        saga.began = min(saga.began, _milliseconds(started_at))
