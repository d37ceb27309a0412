"""Folds records into saga rows, and publishes row changes as events.

`saga_row.join` chooses the state that is furthest along, so duplicates and the reading order of topics do not matter.
Unfinished rows are kept in memory, so that most records need no query of the index.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from time import time
from typing import Any, Protocol

import structlog
from cachetools import FIFOCache
from sortedcontainers import SortedList

from saga_app.active_plan import PLAN, ROWS_CHANGELOG
from saga_app.console.index.counters import Figures
from saga_app.console.redrive_headers import redriven_from
from saga_app.saga import admission, operator_signals, saga_row
from saga_app.saga.codec import BadMessage, parse, replace_fields
from saga_app.saga.messages import DLQ, SIGNALS, Message, Parked, Row, Signal
from saga_app.saga.record_id import RecordId
from saga_app.saga.states import ACTIVE_STATES
from saga_app.saga.timeline import DecodedRecord, Entry, entries
from saga_app.saga.times import record_time, utc
from saga_app.service.record import Record

log = structlog.get_logger()

#: Number of ended sagas whose row, or only whose id, is kept in memory, so that late records need no query.
MAX_RECENT, MAX_ENDED_IDS = 2_000, 200_000

#: Maximum number of sagas with signals that were read before any other record of the saga.
MAX_EARLY_SIGNALS = 10_000


class _AnyTopic:
    """Accepts every topic of a routing slip: the services check whether it exists."""

    def __contains__(self, _name: object) -> bool:
        return True


ANY_TOPIC = _AnyTopic()

_REQUESTS = frozenset(PLAN.topics)

#: Order of records with equal timestamps: causes before effects.
_ORDER = {topic: place for place, topic in enumerate((*PLAN.topics, SIGNALS, DLQ, ROWS_CHANGELOG))}


class Stored(Protocol):
    """The queries of the index that the fold uses."""

    def find(self, ids: list[str]) -> dict[str, Row | None]:
        """The rows of known ids; None for a saga that has ended."""


@dataclass(slots=True)
class Tracked:
    """A saga in memory: its row, its last event, the row in the index, and the identities of published entries."""

    row: Row
    seq: int = 0
    stored: Row | None = None
    entry: Entry | None = None
    overtook: int | None = None
    published: set[tuple[Any, ...]] = field(default_factory=set)


@dataclass(slots=True)
class Event:
    """An event of the stream: a trace entry, or, if `entry` is None, the end of a saga."""

    seq: int
    at: datetime
    entry: Entry | None
    row: Row
    overtook: int | None
    json: bytes | None = None  #: serialized when the first client needs it


@dataclass(slots=True)
class Letter:
    """A dead letter. `open` until its saga continues, or until it is resent."""

    parked: Parked
    partition: int
    offset: int
    open: bool = True
    continued: bool = False  #: its saga has continued within the same batch


@dataclass(slots=True)
class Changes:
    """The changes that result from a batch of records."""

    sagas: dict[str, Tracked] = field(default_factory=dict)
    letters: dict[tuple[str, int, int], Letter] = field(default_factory=dict)  #: by the position of the original
    unreadable: dict[str, list[Letter]] = field(
        default_factory=dict
    )  #: those without a readable message, by the saga that they name
    continued: set[str] = field(default_factory=set)  #: sagas whose earlier dead letters are resolved
    redriven: set[RecordId] = field(default_factory=set)  #: dead letters that were resent
    events: list[Event] = field(default_factory=list)


class Fold:
    """The state of all unfinished sagas, and the number of the last event (`seq`)."""

    def __init__(self, stored: Stored, figures: Figures, seq: int) -> None:
        self.stored, self.figures, self.seq = stored, figures, seq
        self.live = False  #: whether it has caught up; before that, overtaking cannot be counted
        self.bulk = False  #: whether a large backlog is read; then no events are published
        self.open: dict[str, Tracked] = {}
        self.recent: FIFOCache[str, Tracked] = FIFOCache(MAX_RECENT)
        self.ended: FIFOCache[str, None] = FIFOCache(MAX_ENDED_IDS)
        self.early: FIFOCache[str, list[Signal]] = FIFOCache(MAX_EARLY_SIGNALS)
        self.starts: SortedList[tuple[datetime, str]] = SortedList()  #: start times of the sagas in `ACTIVE_STATES`
        self.asked: set[str] = set()  #: Ids that were queried from the index in this batch.
        self.now, self.at = 0.0, utc(0)  #: Time of the current batch.

    def restore(self, row: Row) -> None:
        """Add an unfinished row from the index."""
        self.open[row.id] = Tracked(row, stored=row)
        self._update_starts(None, row)
        self.figures.restore(row)

    def knows(self, id: str) -> bool:
        """Whether the saga is in memory."""
        return id in self.open or id in self.recent or id in self.ended

    def batch(self, records: Iterable[Record]) -> Changes:
        """Fold a batch of records. Write the returned changes to the index before publishing their events."""
        records, self.now = sorted(records, key=_order), time()
        self.at = utc(self.now)
        ids = [(raw.key or b"").decode("utf-8", "replace") for raw in records]
        self._look_up({id for id in ids if id and "\x00" not in id})  # a key may be any bytes
        changes = Changes()
        for raw, id in zip(records, ids, strict=True):
            if (
                raw.headers and (letter_of := redriven_from(raw.headers)) is not None
            ):  # also if the record itself is unreadable
                changes.redriven.add(letter_of)
            if self.bulk and raw.topic in _REQUESTS and (id in self.ended or id in self.recent):
                continue  # its final row was read before, from the changelog
            try:
                if (record := self._decode(raw, self.open.get(id))) is not None:
                    self._take(changes, record)
            except Exception:  # an unexpected record must not block the others
                log.exception("record skipped", topic=raw.topic, partition=raw.partition, offset=raw.offset)
        for letter in changes.letters.values():
            letter.open = self._is_open(letter)
        return changes

    def _is_open(self, letter: Letter) -> bool:
        """Whether an operator has to resolve a dead letter: its saga is parked because of it, or is not known.

        An unreadable one may not concern the saga that it names; it is open until that saga continues.
        """
        parked = letter.parked
        id = parked.letter.id
        if id is None or (parked.message is None and parked.letter.topic == PLAN.steps[0].topic):
            return True
        tracked = self.open.get(id) or self.recent.get(id)
        if id in self.ended or (tracked and tracked.row.ended) or letter.continued:
            return False
        waits = tracked is None or (tracked.row.state == "parked" and tracked.row.updated_at == parked.letter.at)
        return waits or parked.message is None

    def _decode(self, raw: Record, tracked: Tracked | None) -> DecodedRecord | None:
        """Decode a record; None if it is unreadable or redundant. `tracked`: the unfinished saga of its key, if any."""
        if raw.topic == ROWS_CHANGELOG and _is_redundant(raw.value, tracked):
            return None
        at = utc(record_time(raw.timestamp, self.now))
        try:
            body = parse(raw.topic, raw.value, raw.headers, ROWS_CHANGELOG)
            if isinstance(body, Message):  # a message that no step would accept starts no saga
                body = admission.admit(PLAN, raw.topic, body, at, ANY_TOPIC)
        except BadMessage as error:
            place = {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset}
            log.debug("unreadable record", **place, problem=str(error))
            return None
        return DecodedRecord(raw.topic, raw.partition, raw.offset, at, body)

    def _look_up(self, ids: Iterable[str]) -> None:
        """Query the index, once per batch, for all sagas that are not in memory."""
        unknown = [id for id in ids if not self.knows(id)]
        self.asked = set(unknown)
        for id, row in self.stored.find(unknown).items():
            if row is None:
                self.ended[id] = None
            else:
                self.restore(row)

    def _take(self, changes: Changes, record: DecodedRecord) -> None:
        id, body = record.id, record.body
        if isinstance(body, Parked):
            original = (body.letter.topic, body.letter.partition, body.letter.offset)
            letter = changes.letters[original] = Letter(body, record.partition, record.offset)
            if id is not None and body.message is None:
                changes.unreadable.setdefault(id, []).append(letter)
        if id is None:
            return
        if id not in self.asked and not self.knows(id):
            self._look_up([id])  # a client may use another key than the id, or none
        tracked = self.open.get(id) or self.recent.get(id)
        if tracked is None and id in self.ended:
            return
        before = tracked.row if tracked else None
        row = self._applied(_with_provisioners_start(before, body) if before else None, record)
        if row is None:
            if isinstance(body, Signal):
                self._keep_early(body)
            return
        if tracked is None:
            tracked = self.open[id] = Tracked(row)
        if row is not before:
            self._moved(changes, tracked, before, row)
        self._publish_entries(changes, tracked, record)
        if row.ended and id in self.open:
            self._end(changes, tracked)

    def _applied(self, row: Row | None, record: DecodedRecord) -> Row | None:
        body = record.body
        if isinstance(body, Message):
            news = saga_row.row_waiting_for(PLAN, record.topic, body, self._sent_at(record, body))
            return self._with_early(row, saga_row.join(row, news))
        if isinstance(body, Signal):
            return operator_signals.mark_signal(row, body) if row else None
        if isinstance(body, Row):
            return self._with_early(row, _from_table(row, body))
        parked = saga_row.row_parked(PLAN, body, row)
        return saga_row.join(row, parked) if parked else row

    def _sent_at(self, record: DecodedRecord, message: Message) -> datetime:
        """When a request was sent: not before the end of the previous step, even if the clock of the broker is slow."""
        return min(max(record.at, message.history[-1].ended_at), self.at) if message.history else record.at

    def _keep_early(self, signal: Signal) -> None:
        self.early.setdefault(signal.id, []).append(signal)

    def _with_early(self, before: Row | None, row: Row) -> Row:
        """Apply the signals that were read before the first row of a saga."""
        if before is None and self.early:
            for signal in self.early.pop(row.id, ()):
                row = operator_signals.mark_signal(row, signal)
        return row

    def _moved(self, changes: Changes, tracked: Tracked, before: Row | None, row: Row) -> None:
        self.figures.row_changed(before, row, self.now)
        self._update_starts(before, row)
        if before and before.state == "parked" and (row.state, row.updated_at) != ("parked", before.updated_at):
            changes.continued.add(row.id)
            for letter in changes.unreadable.get(row.id, ()):
                letter.continued = True
        tracked.row = row
        changes.sagas[row.id] = tracked

    def _update_starts(self, before: Row | None, row: Row) -> None:
        """Maintain `starts`. A parked saga is not included, because it cannot be overtaken."""
        old, new = _start(before), _start(row)
        if old == new:
            return
        if old is not None:
            self.starts.discard((old, row.id))
        if new is not None:
            self.starts.add((new, row.id))

    def _publish_entries(self, changes: Changes, tracked: Tracked, record: DecodedRecord) -> None:
        """Create a step event for each trace entry that has not been published."""
        for entry in entries(PLAN, record):
            identity = _identity(entry)
            if identity not in tracked.published:
                tracked.published.add(identity)
                if not self.bulk or tracked.entry is None or entry.at >= tracked.entry.at:
                    tracked.entry = entry  # a large backlog is not read in the order of time
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
        if len(self.recent) == self.recent.maxsize:
            oldest, _ = self.recent.popitem()
            self.ended[oldest] = None
        self.recent[row.id] = tracked
        self._event(changes, tracked, None)


def _start(row: Row | None) -> datetime | None:
    """The start of a saga that can be overtaken; None for others."""
    return row.started_at if row is not None and row.state in ACTIVE_STATES else None


def _with_provisioners_start(row: Row, news: Message | Signal | Row | Parked) -> Row:
    """Replace the start time of a row built from the first request by the one that the Provisioner has determined.

    The Provisioner corrects the timestamp of the record by the clock of the broker.
    """
    theirs = isinstance(news, Row) or (isinstance(news, Message) and news.history)
    started_at = news.started_at if theirs and isinstance(news, Message | Row) else None
    if row.history or started_at is None or started_at == row.started_at:
        return row
    return replace_fields(row, started_at=started_at)


def _order(raw: Record) -> tuple[int, int]:
    return raw.timestamp, _ORDER.get(raw.topic, 0)


#: A row with one of these may contain something that no message has: the end of its saga, or an intervention.
_MARKS_OF_NEWS = (b'"ended_at":', b'"trouble":', b'"order":', b'"state":"parked"')


def _is_redundant(value: bytes | None, tracked: Tracked | None) -> bool:
    """Whether a changelog row contains nothing new, determined without decoding it.

    Every step writes a row, and the topics have the same information. If an operator has intervened, the number of
    steps does not show which row is further along.
    """
    if value is None:
        return True
    if tracked is None or tracked.row.attempt != 1 or any(mark in value for mark in _MARKS_OF_NEWS):
        return False
    return value.count(b'"outcome":') <= len(tracked.row.history)


def _from_table(row: Row | None, theirs: Row) -> Row:
    """Join a row with one of the changelog: a final row is taken as it is, otherwise the further one with all marks."""
    if theirs.ended:
        return row if row and row.ended else theirs
    row = saga_row.join(row, theirs)
    if row.ended or row is theirs:
        return row
    if theirs.overdue and not row.overdue:
        row = replace_fields(row, overdue=True, due_at=row.due_at or theirs.due_at)
    return operator_signals.mark_signal(row, theirs.trouble) if theirs.trouble else row


def _identity(entry: Entry) -> tuple[Any, ...]:
    """The identity of an entry: a repeated request is published once; each signal and dead letter is distinct."""
    if entry.topic in (SIGNALS, DLQ):
        return entry.topic, entry.partition, entry.offset
    return entry.topic, entry.kind, entry.step, entry.attempt
