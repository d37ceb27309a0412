"""Records become rows, and rows become events: what the index keeps and what the stream tells.

`machine.apply` chooses the further of two states, so the order in which topics are read does not matter, nor do
duplicates. Rows that have not ended are held here, so that most records need no question to the index.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from time import time
from typing import Any, Protocol

import structlog
from sortedcontainers import SortedList

from saga_app.console.figures import Figures
from saga_app.console.places import Place, redriven_from
from saga_app.saga import machine
from saga_app.saga.messages import CHANGELOG, DLQ, SIGNALS, BadMessage, Message, Parked, Row, Signal, parse
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.timeline import Entry, Record, entries
from saga_app.saga.times import iso

log = structlog.get_logger()

#: Ended sagas of which the row, and of which just the id is remembered: records that come late need no look-up.
RECENT, ENDED_IDS = 2_000, 200_000

#: Signals of sagas of which nothing else has been read yet.
EARLY = 10_000

#: States in which a saga goes on by itself.
MOVING = ("running", "rolling-back")

_REQUESTS = frozenset(ONBOARDING.topics)

#: Causes before effects, among records of the same millisecond.
_ORDER = {topic: place for place, topic in enumerate((*ONBOARDING.topics, SIGNALS, DLQ, CHANGELOG))}


class Raw(Protocol):
    """A record as aiokafka gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int  #: milliseconds since 1970
    key: bytes | None
    value: bytes | None
    headers: Any


class Stored(Protocol):
    """What the fold asks the index."""

    def find(self, ids: list[str]) -> dict[str, Row | None]:
        """Those of these ids that it knows: their rows, or None where the saga has ended."""


@dataclass(slots=True)
class Tracked:
    """A saga that is followed: its row, what has been told about it, and what the index holds of it."""

    row: Row
    seq: int = 0
    stored: Row | None = None
    entry: Entry | None = None
    overtook: int | None = None
    told: set[tuple[Any, ...]] = field(default_factory=set)


@dataclass(slots=True)
class Event:
    """Something for the stream: a step was told, or (without an entry) a saga has ended."""

    seq: int
    at: str
    entry: Entry | None
    row: Row
    overtook: int | None
    json: bytes | None = None  #: made when the first client wants it


@dataclass(slots=True)
class Letter:
    """A dead letter as it was read; `open` until its saga goes on, or until it has been sent again as it is."""

    parked: Parked
    partition: int
    offset: int
    open: bool = True


@dataclass(slots=True)
class Changes:
    """What a batch of records has led to."""

    sagas: dict[str, Tracked] = field(default_factory=dict)
    letters: dict[tuple[str, int, int], Letter] = field(default_factory=dict)  #: by the place of the original
    gone_on: set[str] = field(default_factory=set)  #: sagas whose earlier dead letters are dealt with
    redriven: set[Place] = field(default_factory=set)  #: dead letters that were sent again as they are
    events: list[Event] = field(default_factory=list)


class Fold:
    """All sagas that have not ended, and the number of the last event."""

    def __init__(self, stored: Stored, figures: Figures, seq: int) -> None:
        self.stored, self.figures, self.seq = stored, figures, seq
        self.live = False  #: until it has caught up, nobody can say who overtook whom
        self.bulk = False  #: while very much is caught up with, only what sagas have come to is told, no single steps
        self.open: dict[str, Tracked] = {}
        self.recent: OrderedDict[str, Tracked] = OrderedDict()
        self.ended: OrderedDict[str, None] = OrderedDict()
        self.early: OrderedDict[str, list[Signal]] = OrderedDict()
        self.starts: SortedList[tuple[str, str]] = SortedList()  #: of the sagas that are moving
        self.asked: set[str] = set()  #: Ids that the index has been asked about in this batch.
        self.now, self.at = 0.0, ""  #: When this batch is folded.

    def restore(self, row: Row) -> None:
        """A row that the index holds and that has not ended."""
        self.open[row.id] = Tracked(row, stored=row)
        self._keep_moving(None, row)
        self.figures.restore(row)

    def knows(self, id: str) -> bool:
        """Whether something has been read of this saga lately."""
        return id in self.open or id in self.recent or id in self.ended

    def batch(self, records: Iterable[Raw]) -> Changes:
        """Everything that these records lead to; the index has to write it before the stream tells it."""
        records, self.now = sorted(records, key=_when), time()
        self.at = iso(self.now)
        ids = [(raw.key or b"").decode("utf-8", "replace") for raw in records]
        self._look_up(set(ids) - {""})
        changes = Changes()
        for raw, id in zip(records, ids, strict=True):
            if raw.headers and (letter_of := redriven_from(raw.headers)) is not None:  # whether it can be read or not
                changes.redriven.add(letter_of)
            if self.bulk and raw.topic in _REQUESTS and (id in self.ended or id in self.recent):
                continue  # the table has told how it ended, before its requests were read
            if (record := self._decode(raw, self.open.get(id))) is not None:
                self._take(changes, record)
        for letter in changes.letters.values():
            letter.open = self._is_open(letter.parked)
        return changes

    def _is_open(self, parked: Parked) -> bool:
        """Whether somebody has to deal with a dead letter: its saga waits for just this, or nobody knows its saga."""
        if parked.message is None:
            return True
        if parked.message.id in self.ended:
            return False
        tracked = self.open.get(parked.message.id) or self.recent.get(parked.message.id)
        return tracked is None or (tracked.row.state == "parked" and tracked.row.updated_at == parked.letter.at)

    def _decode(self, raw: Raw, tracked: Tracked | None) -> Record | None:
        """What a record says, if it can be read; `tracked` is the saga that its key names, if that is under way."""
        if raw.topic == CHANGELOG and _says_nothing_new(raw.value, tracked):
            return None
        at = iso(raw.timestamp / 1000)
        try:
            body = parse(raw.topic, raw.value, raw.headers)
            if isinstance(body, Message):  # what no step would work on is no saga
                body = machine.admit(ONBOARDING, raw.topic, body, at)
        except BadMessage as error:
            place = {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset}
            log.debug("unreadable, its dead letter will say so", **place, problem=str(error))
            return None
        return Record(raw.topic, raw.partition, raw.offset, at, body)

    def _look_up(self, ids: Iterable[str]) -> None:
        """Ask the index, once a batch, about all sagas that are not known here."""
        unknown = [id for id in ids if not self.knows(id)]
        self.asked = set(unknown)
        for id, row in self.stored.find(unknown).items():
            if row is None:
                self._remember_ended(id)
            else:
                self.restore(row)

    def _remember_ended(self, id: str) -> None:
        self.ended[id] = None
        if len(self.ended) > ENDED_IDS:
            self.ended.popitem(last=False)

    def _take(self, changes: Changes, record: Record) -> None:
        id, body = record.id, record.body
        if isinstance(body, Parked):
            original = (body.letter.topic, body.letter.partition, body.letter.offset)
            changes.letters[original] = Letter(body, record.partition, record.offset)
        if id is None:
            return
        if id not in self.asked and not self.knows(id):
            self._look_up([id])  # a client that writes another key than the id, or none
        tracked = self.open.get(id) or self.recent.get(id)
        if tracked is None and id in self.ended:
            return
        before = tracked.row if tracked else None
        row = self._applied(before, record)
        if row is None:
            if isinstance(body, Signal):
                self._keep_early(body)
            return
        if tracked is None:
            tracked = self.open[id] = Tracked(row)
        if row is not before:
            self._moved(changes, tracked, before, row)
        self._tell(changes, tracked, record)
        if row.ended and id in self.open:
            self._end(changes, tracked)

    def _applied(self, row: Row | None, record: Record) -> Row | None:
        body = record.body
        if isinstance(body, Message):
            return self._with_early(row, machine.apply(row, machine.asked(ONBOARDING, record.topic, body, record.at)))
        if isinstance(body, Signal):
            return machine.mark(row, body) if row else None
        if isinstance(body, Row):
            return self._with_early(row, _from_table(row, body))
        news = machine.parked(ONBOARDING, body)
        return machine.apply(row, news) if news else row

    def _keep_early(self, signal: Signal) -> None:
        self.early.setdefault(signal.id, []).append(signal)
        if len(self.early) > EARLY:
            self.early.popitem(last=False)

    def _with_early(self, before: Row | None, row: Row) -> Row:
        """A row that is new, with the signals that were read before it."""
        if before is None and self.early:
            for signal in self.early.pop(row.id, ()):
                row = machine.mark(row, signal)
        return row

    def _moved(self, changes: Changes, tracked: Tracked, before: Row | None, row: Row) -> None:
        self.figures.moved(before, row, self.now)
        self._keep_moving(before, row)
        if before and before.state == "parked" and (row.state, row.updated_at) != ("parked", before.updated_at):
            changes.gone_on.add(row.id)
        tracked.row = row
        changes.sagas[row.id] = tracked

    def _keep_moving(self, before: Row | None, row: Row) -> None:
        """A parked saga waits for an operator: whoever ends meanwhile does not overtake it."""
        if before is not None:
            self.starts.discard((before.started_at, row.id))
        if row.state in MOVING:
            self.starts.add((row.started_at, row.id))

    def _tell(self, changes: Changes, tracked: Tracked, record: Record) -> None:
        """A step event for each entry that has not been told."""
        for entry in entries(ONBOARDING, record):
            same = _sameness(entry)
            if same not in tracked.told:
                tracked.told.add(same)
                tracked.entry = entry
                self._event(changes, tracked, entry)

    def _event(self, changes: Changes, tracked: Tracked, entry: Entry | None) -> None:
        self.seq = tracked.seq = self.seq + 1
        changes.sagas[tracked.row.id] = tracked
        if not self.bulk:
            changes.events.append(Event(self.seq, self.at, entry, tracked.row, tracked.overtook))

    def _end(self, changes: Changes, tracked: Tracked) -> None:
        row = tracked.row
        if self.live:
            tracked.overtook = self.starts.bisect_left((row.started_at, row.id))
        del self.open[row.id]
        self.recent[row.id] = tracked
        if len(self.recent) > RECENT:
            self._remember_ended(self.recent.popitem(last=False)[0])
        self._event(changes, tracked, None)


def _when(raw: Raw) -> tuple[int, int]:
    return raw.timestamp, _ORDER.get(raw.topic, 0)


def _says_nothing_new(value: bytes | None, tracked: Tracked | None) -> bool:
    """Whether a row of the changelog is just what the topics have told already; seen without decoding it.

    Every step writes one, and none but the last matters to somebody who reads the topics. Where an operator has
    intervened, the number of steps does not tell who is further.
    """
    if value is None:
        return True
    if tracked is None or b'"ended_at":null' not in value or b'"state":"parked"' in value:
        return False
    row = tracked.row
    untouched = b'"trouble":null,"order":null' in value
    return untouched and row.attempt == 1 and value.count(b'"outcome":') <= len(row.history)


def _from_table(row: Row | None, theirs: Row) -> Row:
    """What the Provisioner's table says: its last word as it is, before that the further of the two with all marks."""
    if theirs.ended:
        return row if row and row.ended else theirs
    row = machine.apply(row, theirs)
    if row.ended or row is theirs:
        return row
    if theirs.overdue and not row.overdue:
        row = replace(row, overdue=True, due_at=row.due_at or theirs.due_at)
    return machine.mark(row, theirs.trouble) if theirs.trouble else row


def _sameness(entry: Entry) -> tuple[Any, ...]:
    """A request that was sent twice is told once; every signal and dead letter is news."""
    if entry.topic in (SIGNALS, DLQ):
        return entry.topic, entry.partition, entry.offset
    return entry.topic, entry.kind, entry.step, entry.attempt
