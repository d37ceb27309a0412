"""Decides which action a redrive or rollback leads to, for each dead letter or saga. Pure functions.

An action on a saga is a signal: the Provisioner, which owns the row, decides whether it still applies. A dead letter
whose message cannot be decoded is resent unchanged.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from saga_app.active_plan import PLAN, ROWS_CHANGELOG
from saga_app.console.index.dead_letters import IndexedLetter
from saga_app.saga.messages import DLQ, Row, Signal
from saga_app.saga.record_id import RecordId
from saga_app.saga.saga_row import is_rolling_back
from saga_app.saga.states import CANCELLABLE_STATES

Kind = Literal["redriven", "cancelled"]


@dataclass(frozen=True, slots=True)
class OperatorAction:
    """A signal that redrives or cancels a saga."""

    kind: Kind
    id: str
    saga: str
    step: str
    service: str
    attempt: int

    @property
    def key(self) -> tuple[Any, ...]:
        """Identity for deduplication: an attempt is started once, and a saga is cancelled once."""
        return self.kind, self.id, self.attempt if self.kind == "redriven" else 0

    def signal(self, at: datetime, by: str) -> Signal:
        """The signal to publish. `at`: the current time; `by`: name of the operator."""
        return Signal(
            v=1,
            id=self.id,
            saga=self.saga,
            kind=self.kind,
            step=self.step,
            service=self.service,
            at=at,
            attempt=self.attempt,
            by=by,
        )


@dataclass(frozen=True, slots=True)
class Resend:
    """Resend a dead letter unchanged; if it is stored truncated, resend its original."""

    held: IndexedLetter

    @property
    def source(self) -> RecordId:
        """The position of the record to resend."""
        return self.held.place if self.held.original_bytes is not None else RecordId(DLQ, *self.held.dlq)

    @property
    def key(self) -> tuple[Any, ...]:
        """Identity for deduplication."""
        return self.held.place


Action = OperatorAction | Resend

#: Reasons why no action applies, as the API reports them in `left_out`.
RESOLVED = "already resolved"
NOT_PARKED = "not parked"
NOT_CANCELLABLE = "already ended or rolling back"
UNREADABLE = "its message cannot be decoded, so its saga is unknown"
NOT_A_STEP = "not from the topic of a step"
RECENTLY_SENT = "already requested in the last seconds"
GONE = "no longer in Kafka"
TRUNCATED = "stored truncated, and its original is no longer in Kafka"


@dataclass(slots=True)
class ActionPlan:
    """The distinct actions to carry out, in order, and the number of items left out by reason."""

    actions: dict[tuple[Any, ...], Action] = field(default_factory=dict)  #: by their keys
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, found: Iterable[Action | str]) -> "ActionPlan":
        """Add actions, and reasons for items to which no action applies; returns the plan itself."""
        for each in found:
            if isinstance(each, str):
                self.left_out[each] += 1
            else:
                self.actions.setdefault(each.key, each)
        return self


def redrive_action(letter: IndexedLetter, row: Row | None = None) -> Action | str:
    """The action that redrives a dead letter, or why none applies: the next attempt of its saga, or a resend.

    `row`: of the saga that an unreadable dead letter names. If that saga is parked, it continues from its row.
    """
    if not letter.open:
        return RESOLVED
    if letter.readable and letter.id is not None and not _needs_original(letter):
        return _action_for_letter("redriven", letter, letter.attempt + 1)
    if row is not None and row.state == "parked" and not letter.readable and not is_initial_request(letter):
        return _action_for_row("redriven", row, row.attempt + 1)
    # A reason instead of an error, so that one foreign record does not block the rest of the request.
    return Resend(letter) if letter.place.topic in PLAN.topics else NOT_A_STEP


def _needs_original(letter: IndexedLetter) -> bool:
    """Whether only the original record has all facts: the row exceeds the changelog, or the letter is truncated.

    If a request to a later step could not be sent, the row waits for that step and has all facts.
    """
    step = PLAN.on(letter.place.topic)
    if step is None or step.name != letter.step:
        return False
    return letter.refused_by == ROWS_CHANGELOG or letter.original_bytes is not None


def rollback_action(letter: IndexedLetter, row: Row | None = None) -> Action | str:
    """The action that rolls back the saga of a dead letter, or why none applies.

    `row`: of the saga that an unreadable dead letter names.
    """
    if not letter.open:
        return RESOLVED
    if letter.readable and letter.id is not None:
        return _action_for_letter("cancelled", letter, letter.attempt)
    return cancel_action(row) if row is not None and not is_initial_request(letter) else UNREADABLE


def is_initial_request(letter: IndexedLetter) -> bool:
    """Whether the original is the first request of a saga. If unreadable, it belongs to no saga, whatever its id."""
    return letter.place.topic == PLAN.steps[0].topic


def cancel_action(row: Row) -> Action | str:
    """The action that rolls back a saga at any step, or why none applies."""
    if row.state not in CANCELLABLE_STATES or is_rolling_back(row):
        return NOT_CANCELLABLE
    return _action_for_row("cancelled", row, row.attempt)


def _action_for_row(kind: Kind, row: Row, attempt: int) -> OperatorAction:
    step = PLAN.step_named(row.step)
    service = step.service if step else PLAN.steps[0].service
    return OperatorAction(kind, row.id, row.saga, row.step, service, attempt)


def _action_for_letter(kind: Kind, letter: IndexedLetter, attempt: int) -> OperatorAction:
    return OperatorAction(kind, letter.id or "", letter.saga or PLAN.name, letter.step, letter.service, attempt)
