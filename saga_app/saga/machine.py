"""What follows what. Pure functions: a service decides with them, and its loop acts.

`first` turns a client's request into a saga, `following` says where it goes after a step, and `apply` keeps the row.
A row is not counted forward but chosen: of all that is known about a saga, the state that is furthest along. So
messages may come twice, late, and in any order; the row is the same in the end.
"""

from dataclasses import dataclass, replace
from typing import Literal

from saga_app.saga.messages import ENDED, BadMessage, Message, Parked, Row, Signal, Slip, State, Visit
from saga_app.saga.steps import Denied, Done, Outcome, Plan, Step
from saga_app.saga.times import between

#: How far a clock may be ahead of ours before we do not believe it (seconds).
AHEAD_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Next:
    """Send this message to this topic."""

    topic: str
    message: Message


@dataclass(frozen=True, slots=True)
class End:
    """The saga has ended; there is nothing to send."""

    state: State
    message: Message


def first(plan: Plan, request: Message, at: str) -> Message:
    """A client's request with the slip and the start time of its saga; whatever else the client wrote is not ours."""
    return replace(request, saga=plan.name, slip=plan.slip(), started_at=at, history=[], facts={})


def admit(plan: Plan, topic: str, message: Message, at: str) -> Message:
    """A message that a step can work on: on the first topic a client's request made a saga, elsewhere one with a slip.

    `at` is the record's time (ISO). Raises `BadMessage` with what is wrong.
    """
    if topic == plan.steps[0].topic:
        return first(plan, message, at)
    if message.slip is None:
        raise BadMessage(f"slip: missing; only {plan.steps[0].topic} may come without one")
    known = plan.topics
    if unknown := [name for name in message.slip.ahead + message.slip.back if name not in known]:
        raise BadMessage(f"slip: unknown topic {', '.join(unknown)}; known are {', '.join(known)}")
    started_at = message.started_at
    if started_at and started_at > at and between(at, started_at) > AHEAD_S:
        raise BadMessage(f"started_at: {started_at} is in the future")
    return message


def visit(
    step: Step,
    outcome: Outcome,
    attempts: int,
    received_at: str,
    started_at: str,
    ended_at: str,
    failed: bool = False,
) -> Visit:
    """The line that a step adds to the saga's history; `failed`: the "no" is not the world's but our own giving up."""
    no: Literal["failed", "denied"] = "failed" if failed else "denied"
    return Visit(
        step=step.name,
        service=step.service,
        attempts=attempts,
        received_at=received_at,
        started_at=started_at,
        ended_at=ended_at,
        outcome=no if isinstance(outcome, Denied) else "done",
        reason=outcome.reason if isinstance(outcome, Denied) else None,
    )


def following(request: Message, step: Step, outcome: Outcome, done: Visit) -> Next | End:
    """Done moves one place ahead; Denied turns the saga round, so that ahead becomes back."""
    slip = request.slip or Slip([], [])
    message = replace(request, attempt=1, history=[*request.history, done])
    if isinstance(outcome, Done):
        message.facts = request.facts | outcome.facts
    if slip.undoing:
        ahead, back, undoing = slip.ahead, slip.back, True
    elif isinstance(outcome, Denied):
        ahead, back, undoing = slip.back, [], True
    else:
        ahead, back, undoing = slip.ahead, [step.undo, *slip.back] if step.undo else slip.back, False
    if not ahead:
        return End(_end_state(message, undoing), replace(message, slip=Slip([], back, undoing)))
    return Next(ahead[0], replace(message, slip=Slip(ahead[1:], back, undoing)))


def _end_state(message: Message, undoing: bool) -> State:
    """A rollback is complete only if every undo is done: whatever follows the first "no" is one."""
    if not undoing:
        return "completed"
    outcomes = [line.outcome for line in message.history]
    turn = next(i for i, outcome in enumerate(outcomes) if outcome != "done")
    return "rolled-back" if all(outcome == "done" for outcome in outcomes[turn + 1 :]) else "rollback-incomplete"


def asked(plan: Plan, topic: str, message: Message, at: str) -> Row:
    """The row of a saga that waits for the step of this topic."""
    step = plan.on(topic)
    undoing = message.slip is not None and message.slip.undoing
    return _row(message, "rolling-back" if undoing else "running", step.name if step else topic, at)


def ended(end: End, at: str) -> Row:
    """The row of a saga that has ended."""
    row = _row(end.message, end.state, end.message.history[-1].step, at)
    row.ended_at = at
    return row


def parked(plan: Plan, letter: Parked) -> Row | None:
    """The row of a saga that waits for somebody; None if the dead letter names no saga."""
    if letter.message is None:
        return None
    row = _row(letter.message, "parked", letter.letter.step, letter.letter.at)
    row.reason = letter.letter.reason
    return row


def _row(message: Message, state: State, step: str, at: str) -> Row:
    return Row(
        v=1,
        id=message.id,
        saga=message.saga,
        user=message.user,
        state=state,
        step=step,
        attempt=message.attempt,
        started_at=message.started_at or at,
        updated_at=at,
        reason=next((line.reason for line in message.history if line.outcome != "done"), None),
        facts=message.facts,
        slip=message.slip,
        history=message.history,
    )


def rank(row: Row) -> tuple[bool, int, int, bool]:
    """How far along a saga is: ended, then steps behind it, then attempts (redrives), then parked."""
    return row.state in ENDED, len(row.history), row.attempt, row.state == "parked"


def apply(row: Row | None, news: Row) -> Row:
    """What is known now: the further of the two, with the marks of both. The very same row if nothing is new."""
    if row is None:
        return news
    if rank(news) <= rank(row):
        return row
    return replace(
        news,
        started_at=min(row.started_at, news.started_at),
        overdue=row.overdue or news.overdue,
        origin=row.origin or news.origin,
        trouble=row.trouble,
    )


def passed(row: Row, request: Message) -> bool:
    """Whether what this request leads to has been seen already: then it is late, and there is nothing left to do.

    A saga that is just one step further may have been noted without its message having been sent: do it again.
    """
    return row.ended or len(row.history) > len(request.history) + 1


def mark(row: Row, signal: Signal) -> Row:
    """A signal changes no state; it is kept as the latest trouble, and `overdue` as a mark."""
    overdue = row.overdue or signal.kind == "overdue"
    newer = row.trouble is None or signal.at > row.trouble.at
    if row.ended or not (newer or overdue != row.overdue):
        return row
    return replace(row, overdue=overdue, trouble=signal if newer else row.trouble)
