"""The evidence of one saga, prepared for the checks."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from aiokafka.partitioner import murmur2

from saga_app.audit.evidence import Evidence, History, Letter, SeenAction, SeenRequest, SeenRow
from saga_app.audit.route import FIRST, GROUP_OF, Route, name_on, route_of
from saga_app.saga.record_id import RecordId
from saga_app.saga.states import ACTIVE_STATES

#: Tolerance for differences between clocks (milliseconds).
CLOCKS_DIFFER_MS = 60_000

#: How late the result of a planned attempt may be (milliseconds).
RETRY_GRACE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Finding:
    """An inconsistency. `saga` is None if it belongs to no saga; `proof` lists records as topic[partition]@offset."""

    kind: str
    saga: str | None
    sentence: str
    proof: tuple[str, ...] = ()


@dataclass(slots=True)
class LogState:
    """The extent of the records that were read. Times are milliseconds since 1970."""

    now: int
    #: Number of partitions of each topic; None if unknown.
    partitions: int | None = None
    #: Committed offsets by consumer group and partition.
    committed: Mapping[str, Mapping[tuple[str, int], int]] = field(default_factory=dict)
    #: Partitions whose oldest records were deleted, with the time up to which records may be missing.
    lost: Mapping[tuple[str, int], float] = field(default_factory=dict)
    #: Offset of the first record by partition; 0 if absent.
    first: Mapping[tuple[str, int], int] = field(default_factory=dict)
    #: A saga whose newest record is younger than this is not checked (milliseconds).
    settle: int = 0
    #: End offset by partition; unknown if absent.
    ends: Mapping[tuple[str, int], int] = field(default_factory=dict)
    #: The originals of all dead letters, and of those with an unreadable message.
    buried: frozenset[RecordId] | set[RecordId] = frozenset()
    refused: frozenset[RecordId] | set[RecordId] = frozenset()

    def whole(self, topic: str, partition: int, since: int) -> bool:
        """Whether no record written since then is missing, as far as clocks can tell."""
        return not self.lost or since > self.lost.get((topic, partition), -math.inf) + CLOCKS_DIFFER_MS

    def is_past(self, place: RecordId | SeenRequest) -> bool:
        """Whether the group that consumes this topic has committed this record."""
        offsets = self.committed.get(GROUP_OF.get(place.topic, ""))
        return offsets is not None and place.offset < offsets.get((place.topic, place.partition), -1)

    def home(self, id: str) -> int | None:
        """The partition to which a saga belongs; None if unknown."""
        return (murmur2(id.encode()) & 0x7FFFFFFF) % self.partitions if self.partitions else None


class Case:
    """One saga. `rows` are in the order of the changelog, `requests` in the order of time."""

    def __init__(self, saga: Evidence, seen: LogState) -> None:
        self.saga, self.seen, self.id = saga, seen, saga.id
        self.letters: tuple[Letter, ...] = saga.letters
        self.actions: tuple[SeenAction, ...] = saga.actions
        home = seen.home(self.id)  # a saga that was moved to another partition has its latest rows there
        requests = [each for each in saga.requests if each.place not in seen.refused] if seen.refused else saga.requests
        self.requests = sorted(requests, key=lambda each: (each.at, len(each.history), each.offset))
        self.rows, self.repaired = without_repaired(
            sorted(saga.rows, key=lambda row: (row.partition == home, row.partition, row.offset))
        )
        self.last: SeenRow | None = self.rows[-1] if self.rows else None

    def awaits_retry(self, step: str) -> bool:
        """Whether an attempt of this step is planned, and not late by more than `RETRY_GRACE_MS`."""
        return any(each.step == step and self.seen.now < each.next_at + RETRY_GRACE_MS for each in self.saga.planned)

    @property
    def is_retrying(self) -> bool:
        """Whether the saga waits for a planned attempt."""
        is_rolling_back = self.state == "rolling-back"
        compensations = {name_on(topic) for topic in self.route.compensations}
        steps = {each.step for each in self.saga.planned if (each.step in compensations) == is_rolling_back}
        return self.state in ACTIVE_STATES and any(map(self.awaits_retry, steps))

    def __bool__(self) -> bool:
        """Whether it is a saga: signals and rejected messages alone do not make one."""
        return bool(self.requests or self.rows or self.letters)

    @property
    def state(self) -> str:
        """The state in its row; `requested` if it has none."""
        return self.last.state if self.last else "requested"

    def whole(self, topic: str, partition: int) -> bool:
        """Whether no record of this saga on this partition can be missing.

        For the first request this is decided by its offset, which the row names. That request may have waited before it
        was processed, so its time says less.
        """
        if topic == FIRST and self.saga.origin:
            place, offset = (topic, self.saga.origin[0]), self.saga.origin[1]
            return self.seen.first.get(place, 0) <= offset < self.seen.ends.get(place, math.inf)
        return self.seen.whole(topic, partition, self.saga.began)

    @property
    def under_way(self) -> bool:
        """Whether its newest record is too young for the checks."""
        return bool(self.seen.settle) and self.saga.newest > self.seen.now - self.seen.settle

    @property
    def from_services(self) -> Iterator[SeenRequest]:
        """Its requests that only a service can have sent."""
        return (each for each in self.requests if each.topic != FIRST)

    def on(self, topic: str) -> list[SeenRequest]:
        """Its requests on this topic."""
        return [each for each in self.requests if each.topic == topic]

    def proof(self, *more: RecordId | None) -> tuple[str, ...]:
        """The distinct positions; that of the last row if there are none."""
        places = dict.fromkeys(str(place) for place in more if place is not None)
        return tuple(places) or ((str(self.last.place),) if self.last else ())

    @cached_property
    def route(self) -> Route:
        """Its steps and compensations according to its routing slip."""
        return route_of(self.requests, self.rows)

    @cached_property
    def histories(self) -> set[History]:
        """The distinct histories in its messages and rows."""
        return {each.history for each in self.requests} | {row.history for row in self.rows}

    @cached_property
    def visits(self) -> set[tuple[str, str]]:
        """Every completed step with its outcome, according to any message or row."""
        return {visit for history in self.histories for visit in history}

    def finding(self, kind: str, sentence: str, *places: RecordId | None) -> Finding:
        """A finding about this saga."""
        return Finding(kind, self.id, sentence, self.proof(*places))


def without_repaired(rows: list[SeenRow]) -> tuple[list[SeenRow], int]:
    """The rows without stale ones that a repeated final row has repaired; and the number of stale rows.

    A worker that was frozen can write a stale row after the final one; the new owner then writes the final row again.
    """
    kept: list[SeenRow] = []
    repaired = 0
    for row in rows:
        first = next((n for n, one in enumerate(kept) if row.ended and _ending(one) == _ending(row)), None)
        if first is None:
            kept.append(row)
            continue
        repaired += sum(_ending(one) != _ending(row) for one in kept[first:])
        del kept[first + 1 :]
    return kept, repaired


def _ending(row: SeenRow) -> tuple[str, int, History]:
    return row.state, row.updated_at, row.history


def iso(at: float) -> str:
    """Milliseconds since 1970 as an ISO 8601 time."""
    try:
        return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    except (OverflowError, ValueError, OSError):
        return "an unknown time"


def duration_text(milliseconds: float) -> str:
    """A duration in text, such as 3 min."""
    seconds = max(0.0, milliseconds / 1000)
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.1f} s"


def history_text(history: History) -> str:
    """A history in text."""
    return ", ".join(f"{step} {outcome}" for step, outcome in history) or "nothing"
