"""The evidence of one saga, put in order for the checks, and what they may rely on."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from aiokafka.partitioner import murmur2

from saga_app.audit.evidence import Asked, Evidence, History, Letter, Noted, Place, Told
from saga_app.audit.route import FIRST, GROUP_OF, Route, name_on, route_of

#: By how much two clocks, of a broker or a service, may differ (milliseconds).
CLOCKS_DIFFER_MS = 60_000

#: How long after its time a planned attempt may be without a result (milliseconds).
RETRY_GRACE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up. `saga` is None where no saga can be named; `proof`: topic[partition]@offset."""

    kind: str
    saga: str | None
    sentence: str
    proof: tuple[str, ...] = ()


@dataclass(slots=True)
class Seen:
    """How much has been seen. Times are milliseconds since 1970."""

    now: int
    #: How many partitions a topic has; None if nobody knows.
    partitions: int | None = None
    #: By consumer group and partition, the next offset to be read.
    committed: Mapping[str, Mapping[tuple[str, int], int]] = field(default_factory=dict)
    #: Partitions whose beginning is not there any more: what was written until then may be missing.
    lost: Mapping[tuple[str, int], float] = field(default_factory=dict)
    #: By partition, the offset of its first record; what is not named begins at 0.
    first: Mapping[tuple[str, int], int] = field(default_factory=dict)
    #: How young the newest record of a saga may be for it to be still under way.
    settle: int = 0
    #: By partition, the offset behind its last record; what is not named is not known.
    ends: Mapping[tuple[str, int], int] = field(default_factory=dict)
    #: The originals of all dead letters, and of those that name no saga.
    buried: frozenset[Place] | set[Place] = frozenset()
    refused: frozenset[Place] | set[Place] = frozenset()

    def whole(self, topic: str, partition: int, since: int) -> bool:
        """Whether all is there that was written since then, as far as clocks can tell."""
        return not self.lost or since > self.lost.get((topic, partition), -math.inf) + CLOCKS_DIFFER_MS

    def is_past(self, place: Place | Asked) -> bool:
        """Whether the group that reads this topic has committed an offset behind this record."""
        offsets = self.committed.get(GROUP_OF.get(place.topic, ""))
        return offsets is not None and place.offset < offsets.get((place.topic, place.partition), -1)

    def home(self, id: str) -> int | None:
        """The partition on which everything of a saga belongs."""
        return (murmur2(id.encode()) & 0x7FFFFFFF) % self.partitions if self.partitions else None


class Case:
    """One saga. `rows` are in the order of the changelog, `asked` in the order of time."""

    def __init__(self, saga: Evidence, seen: Seen) -> None:
        self.saga, self.seen, self.id = saga, seen, saga.id
        self.letters: tuple[Letter, ...] = saga.letters
        self.told: tuple[Told, ...] = saga.told
        home = seen.home(self.id)  # a saga that was moved there has its latest rows there
        asked = [each for each in saga.asked if each.place not in seen.refused] if seen.refused else saga.asked
        self.asked = sorted(asked, key=lambda each: (each.at, len(each.history), each.offset))
        self.rows, self.mended = settled(
            sorted(saga.noted, key=lambda row: (row.partition == home, row.partition, row.offset))
        )
        self.last: Noted | None = self.rows[-1] if self.rows else None

    def awaits_retry(self, step: str) -> bool:
        """Whether an attempt of this step is planned, and not overdue by more than `RETRY_GRACE_MS`."""
        return any(each.step == step and self.seen.now < each.next_at + RETRY_GRACE_MS for each in self.saga.planned)

    @property
    def is_retrying(self) -> bool:
        """Whether its next event is an attempt that is planned."""
        on_the_way_back = self.state == "rolling-back"
        undos = {name_on(topic) for topic in self.route.compensations}
        steps = {each.step for each in self.saga.planned if (each.step in undos) == on_the_way_back}
        return self.state in ("running", "rolling-back") and any(map(self.awaits_retry, steps))

    def __bool__(self) -> bool:
        """Whether it is a saga at all: a signal about nobody, or a message that was refused, makes none."""
        return bool(self.asked or self.rows or self.letters)

    @property
    def state(self) -> str:
        """What its row says; `requested` when it has none."""
        return self.last.state if self.last else "requested"

    def whole(self, topic: str, partition: int) -> bool:
        """Whether all of it is there that was ever written to this partition.

        Its row knows the offset of the request that began it. That may have waited, so its time says less.
        """
        if topic == FIRST and self.saga.origin:
            place, offset = (topic, self.saga.origin[0]), self.saga.origin[1]
            return self.seen.first.get(place, 0) <= offset < self.seen.ends.get(place, math.inf)
        return self.seen.whole(topic, partition, self.saga.began)

    @property
    def under_way(self) -> bool:
        """Whether something has just happened, so that it is too early to judge."""
        return bool(self.seen.settle) and self.saga.newest > self.seen.now - self.seen.settle

    @property
    def beyond_first(self) -> Iterator[Asked]:
        """What only a service can have sent."""
        return (each for each in self.asked if each.topic != FIRST)

    def on(self, topic: str) -> list[Asked]:
        """Its messages on this topic."""
        return [each for each in self.asked if each.topic == topic]

    def proof(self, *more: Place | None) -> tuple[str, ...]:
        """These places, without repetition; the last row if there are none."""
        places = dict.fromkeys(str(place) for place in more if place is not None)
        return tuple(places) or ((str(self.last.place),) if self.last else ())

    @cached_property
    def route(self) -> Route:
        """Its steps and their compensations, by the slip that it carried."""
        return route_of(self.asked, self.rows)

    @cached_property
    def histories(self) -> set[History]:
        """All that its messages and rows say is behind it."""
        return {each.history for each in self.asked} | {row.history for row in self.rows}

    @cached_property
    def visits(self) -> set[tuple[str, str]]:
        """Every step that anything says is behind it, with its outcome."""
        return {visit for history in self.histories for visit in history}

    def finding(self, kind: str, sentence: str, *places: Place | None) -> Finding:
        """About this saga."""
        return Finding(kind, self.id, sentence, self.proof(*places))


def settled(rows: list[Noted]) -> tuple[list[Noted], int]:
    """Rows without those that an ending, written once more, has mended; and how many these were.

    A worker that was frozen may get an old row in behind an ending: then its successor writes the ending again.
    """
    kept: list[Noted] = []
    mended = 0
    for row in rows:
        first = next((n for n, one in enumerate(kept) if row.ended and _ending(one) == _ending(row)), None)
        if first is None:
            kept.append(row)
            continue
        mended += sum(_ending(one) != _ending(row) for one in kept[first:])
        del kept[first + 1 :]
    return kept, mended


def _ending(row: Noted) -> tuple[str, str, History]:
    return row.state, row.updated_at, row.history


def iso(at: float) -> str:
    """Milliseconds since 1970 as people and the wire write it."""
    try:
        return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    except (OverflowError, ValueError, OSError):
        return "an unknown time"


def span(milliseconds: float) -> str:
    """A length of time in words."""
    seconds = max(0.0, milliseconds / 1000)
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.1f} s"


def shown(history: History) -> str:
    """A history in words."""
    return ", ".join(f"{step} {outcome}" for step, outcome in history) or "nothing"
