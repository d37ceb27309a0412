"""Records become rows, and rows become events: what the index keeps and what the stream tells.

`machine.join` chooses the further of two states, so the order in which topics are read does not matter, nor do
duplicates. Rows that have not ended are held here, so that most records need no question to the index.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from time import time
from typing import Any, Protocol

import structlog
from sortedcontainers import SortedList

from saga_app.active_plan import PLAN, ROWS_CHANGELOG
from saga_app.console.index.counters import Figures
from saga_app.console.record_id import Place, redriven_from
from saga_app.saga import machine
from saga_app.saga.messages import DLQ, SIGNALS, BadMessage, Message, Parked, Row, Signal, parse
from saga_app.saga.timeline import Entry, Record, entries
from saga_app.saga.times import iso, record_time

log = structlog.get_logger()

#: Ended sagas of which the row, and of which just the id is remembered: records that come late need no look-up.
RECENT, ENDED_IDS = 2_000, 200_000

#: Signals of sagas of which nothing else has been read yet.
EARLY = 10_000

#: States in which a saga goes on by itself.
MOVING = ("running", "rolling-back")


class _AnyTopic:
    """Whether a topic of a slip exists is for the services to find out."""

    def __contains__(self, _name: object) -> bool:
        return True


ANY_TOPIC = _AnyTopic()

_REQUESTS = frozenset(PLAN.topics)

#: Causes before effects, among records of the same millisecond.
_ORDER = {topic: place for place, topic in enumerate((*PLAN.topics, SIGNALS, DLQ, ROWS_CHANGELOG))}


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
    gone_on: bool = False  #: its saga has gone on since, within the same batch


@dataclass(slots=True)
class Changes:
    """What a batch of records has led to."""

    sagas: dict[str, Tracked] = field(default_factory=dict)
    letters: dict[tuple[str, int, int], Letter] = field(default_factory=dict)  #: by the place of the original
    unreadable: dict[str, list[Letter]] = field(default_factory=dict)  #: those without a message, by the saga they name
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
        self._look_up({id for id in ids if id and "\x00" not in id})  # a key may be any bytes
        changes = Changes()
        for raw, id in zip(records, ids, strict=True):
            if raw.headers and (letter_of := redriven_from(raw.headers)) is not None:  # whether it can be read or not
                changes.redriven.add(letter_of)
            if self.bulk and raw.topic in _REQUESTS and (id in self.ended or id in self.recent):
                continue  # the table has told how it ended, before its requests were read
            try:
                if (record := self._decode(raw, self.open.get(id))) is not None:
                    self._take(changes, record)
            except Exception:  # one record that nobody has foreseen must not keep all others from being read
                log.exception("record skipped", topic=raw.topic, partition=raw.partition, offset=raw.offset)
        for letter in changes.letters.values():
            letter.open = self._is_open(letter)
        return changes

    def _is_open(self, letter: Letter) -> bool:
        """Whether an operator has to deal with a dead letter: its saga waits for it, or is not known.

        One that cannot be read may not concern the saga that it names: it is open until that saga goes on from there.
        """
        parked = letter.parked
        id = parked.letter.id
        if id is None or (parked.message is None and parked.letter.topic == PLAN.steps[0].topic):
            return True
        tracked = self.open.get(id) or self.recent.get(id)
        if id in self.ended or (tracked and tracked.row.ended) or letter.gone_on:
            return False
        waits = tracked is None or (tracked.row.state == "parked" and tracked.row.updated_at == parked.letter.at)
        return waits or parked.message is None

    def _decode(self, raw: Raw, tracked: Tracked | None) -> Record | None:
        """What a record says, if it can be read; `tracked` is the saga that its key names, if that is under way."""
        if raw.topic == ROWS_CHANGELOG and _says_nothing_new(raw.value, tracked):
            return None
        at = iso(record_time(raw.timestamp, self.now))
        try:
            body = parse(raw.topic, raw.value, raw.headers, ROWS_CHANGELOG)
            if isinstance(body, Message):  # what no step would work on is no saga
                body = machine.admit(PLAN, raw.topic, body, at, ANY_TOPIC)
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
            letter = changes.letters[original] = Letter(body, record.partition, record.offset)
            if id is not None and body.message is None:
                changes.unreadable.setdefault(id, []).append(letter)
        if id is None:
            return
        if id not in self.asked and not self.knows(id):
            self._look_up([id])  # a client that writes another key than the id, or none
        tracked = self.open.get(id) or self.recent.get(id)
        if tracked is None and id in self.ended:
            return
        before = tracked.row if tracked else None
        row = self._applied(_with_their_start(before, body) if before else None, record)
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
            news = machine.row_waiting_for(PLAN, record.topic, body, self._sent_at(record, body))
            return self._with_early(row, machine.join(row, news))
        if isinstance(body, Signal):
            return machine.mark_signal(row, body) if row else None
        if isinstance(body, Row):
            return self._with_early(row, _from_table(row, body))
        parked = machine.row_parked(PLAN, body, row)
        return machine.join(row, parked) if parked else row

    def _sent_at(self, record: Record, message: Message) -> str:
        """When a request was sent: not before the step that sent it ended, even if the broker's clock is behind."""
        return min(max(record.at, message.history[-1].ended_at), self.at) if message.history else record.at

    def _keep_early(self, signal: Signal) -> None:
        self.early.setdefault(signal.id, []).append(signal)
        if len(self.early) > EARLY:
            self.early.popitem(last=False)

    def _with_early(self, before: Row | None, row: Row) -> Row:
        """A row that is new, with the signals that were read before it."""
        if before is None and self.early:
            for signal in self.early.pop(row.id, ()):
                row = machine.mark_signal(row, signal)
        return row

    def _moved(self, changes: Changes, tracked: Tracked, before: Row | None, row: Row) -> None:
        self.figures.moved(before, row, self.now)
        self._keep_moving(before, row)
        if before and before.state == "parked" and (row.state, row.updated_at) != ("parked", before.updated_at):
            changes.gone_on.add(row.id)
            for letter in changes.unreadable.get(row.id, ()):
                letter.gone_on = True
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
        for entry in entries(PLAN, record):
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


def _with_their_start(row: Row, news: Message | Signal | Row | Parked) -> Row:
    """A row that was made from the request alone, with the start that the Provisioner has given its saga.

    The Provisioner knows better: it corrects the record's time by the clock of the broker.
    """
    theirs = isinstance(news, Row) or (isinstance(news, Message) and news.history)
    started_at = news.started_at if theirs and isinstance(news, Message | Row) else None
    if row.history or started_at is None or started_at == row.started_at:
        return row
    return replace(row, started_at=started_at)


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
    row = machine.join(row, theirs)
    if row.ended or row is theirs:
        return row
    if theirs.overdue and not row.overdue:
        row = replace(row, overdue=True, due_at=row.due_at or theirs.due_at)
    return machine.mark_signal(row, theirs.trouble) if theirs.trouble else row


def _sameness(entry: Entry) -> tuple[Any, ...]:
    """A request that was sent twice is told once; every signal and dead letter is news."""
    if entry.topic in (SIGNALS, DLQ):
        return entry.topic, entry.partition, entry.offset
    return entry.topic, entry.kind, entry.step, entry.attempt
