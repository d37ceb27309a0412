"""What becomes of a dead letter or of a saga when an operator redrives it or rolls it back. Pure: it decides.

A saga is only ever told, by a signal: whether that still applies is decided by the Provisioner, who owns its row. A
dead letter from which no saga can be read is sent again as it was.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from saga_app.active_plan import PLAN, ROWS_CHANGELOG
from saga_app.console.index.dead_letters import Held
from saga_app.console.record_id import Place
from saga_app.saga.machine import is_turned
from saga_app.saga.messages import DLQ, Row, Signal

Kind = Literal["redriven", "cancelled"]


@dataclass(frozen=True, slots=True)
class Intent:
    """Tell this saga."""

    kind: Kind
    id: str
    saga: str
    step: str
    service: str
    attempt: int

    @property
    def key(self) -> tuple[Any, ...]:
        """Of two with the same key the second would change nothing: an attempt starts once, and a saga turns once."""
        return self.kind, self.id, self.attempt if self.kind == "redriven" else 0

    def signal(self, at: str, by: str) -> Signal:
        """On the wire."""
        return Signal(1, self.id, self.saga, self.kind, self.step, self.service, at, self.attempt, by=by)


@dataclass(frozen=True, slots=True)
class Resend:
    """Send this dead letter again as it was; one that is stored cut from its original."""

    held: Held

    @property
    def source(self) -> Place:
        """Where the bytes are."""
        return self.held.place if self.held.original_bytes is not None else Place(DLQ, *self.held.dlq)

    @property
    def key(self) -> tuple[Any, ...]:
        """Once is enough."""
        return self.held.place


Act = Intent | Resend

#: What does not apply, in words.
DEALT_WITH = "dealt with already"
NOT_WAITING = "not waiting for anybody"
ENDED = "ended or rolling back already"
UNREADABLE = "no saga can be read from it"
FOREIGN = "not from a topic of a step"
JUST_ASKED = "asked for just now"
GONE = "not in Kafka any more"
CUT = "stored cut, and its original is not in Kafka any more"


@dataclass(slots=True)
class Chosen:
    """What there is to do, each thing once, in order; and how much is left out, by the reason."""

    acts: dict[tuple[Any, ...], Act] = field(default_factory=dict)  #: by their keys
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, found: Iterable[Act | str]) -> "Chosen":
        """Acts, or reasons why not."""
        for each in found:
            if isinstance(each, str):
                self.left_out[each] += 1
            else:
                self.acts.setdefault(each.key, each)
        return self


def redrive(letter: Held, row: Row | None = None) -> Act | str:
    """A dead letter is tried again: its saga with its next attempt, or else its bytes.

    `row` is that of the saga which an unreadable dead letter names: if it waits, it goes on from what its row knows.
    """
    if not letter.open:
        return DEALT_WITH
    if letter.readable and letter.id is not None and not _needs_original(letter):
        return _told("redriven", letter, letter.attempt + 1)
    if row is not None and row.state == "parked" and not letter.readable and not is_first(letter):
        return _of_row("redriven", row, row.attempt + 1)
    # Not a mistake of whoever asks, but of whoever wrote it: it must not keep the others of its kind from going on.
    return Resend(letter) if letter.place.topic in PLAN.topics else FOREIGN


def _needs_original(letter: Held) -> bool:
    """Whether only the original has all facts of its saga: its row is too large for the changelog, or it is stored cut.

    A letter about a request that could not be sent needs none: the row waits for that step, and has all that it needs.
    """
    step = PLAN.on(letter.place.topic)
    if step is None or step.name != letter.step:
        return False
    return letter.refused_by == ROWS_CHANGELOG or letter.original_bytes is not None


def roll_back(letter: Held, row: Row | None = None) -> Act | str:
    """The saga of a dead letter goes back; `row` is that of the saga which an unreadable one names."""
    if not letter.open:
        return DEALT_WITH
    if letter.readable and letter.id is not None:
        return _told("cancelled", letter, letter.attempt)
    return turn_round(row) if row is not None and not is_first(letter) else UNREADABLE


def is_first(letter: Held) -> bool:
    """Whether it is a client's request: what cannot be read there begins no saga, and concerns none that has its id."""
    return letter.place.topic == PLAN.steps[0].topic


def turn_round(row: Row) -> Act | str:
    """A saga goes back, wherever it is."""
    if row.state not in ("running", "parked") or is_turned(row):
        return ENDED
    return _of_row("cancelled", row, row.attempt)


def _of_row(kind: Kind, row: Row, attempt: int) -> Intent:
    step = PLAN.named(row.step)
    service = step.service if step else PLAN.steps[0].service
    return Intent(kind, row.id, row.saga, row.step, service, attempt)


def _told(kind: Kind, letter: Held, attempt: int) -> Intent:
    return Intent(kind, letter.id or "", letter.saga or PLAN.name, letter.step, letter.service, attempt)
