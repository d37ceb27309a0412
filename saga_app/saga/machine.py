"""The state machine of a saga: pure functions that decide, for the loop of a service to carry out.

`begin` creates a saga from a client's request, `next_after` decides where it goes after a step,
`apply_operator_signal` what an operator's signal changes, and `join` merges new information into the saga row.

A row is joined, not counted: of everything known about a saga, the state that is furthest along wins. Duplicate, late
and reordered messages therefore yield the same row.
"""

from collections.abc import Container
from datetime import datetime
from enum import Enum
from typing import Literal

from msgspec import Struct

from saga_app.saga import new_user
from saga_app.saga.codec import BadMessage, replace_fields
from saga_app.saga.messages import DLQ, SIGNALS, Answer, DeadLetter, Message, Parked, Row, Signal, Slip, Visit
from saga_app.saga.plan import Denied, Outcome, Plan, Step
from saga_app.saga.states import ACTIVE_STATES, CANCELLABLE_STATES, State
from saga_app.saga.times import EARLIEST_S, utc

#: The earliest plausible start of a saga.
EARLIEST = utc(EARLIEST_S)


class Next(Struct, frozen=True):
    """The saga continues: send this message to this topic."""

    topic: str
    message: Message


class End(Struct, frozen=True):
    """The saga ends in this state; there is nothing to send."""

    state: State
    message: Message


class Simple(Enum):
    """A decision that needs no details."""

    ACT = "make the next attempt"
    ABSORB = "ignore the request: it is a duplicate, or its step must not act any more"


ACT, ABSORB = Simple.ACT, Simple.ABSORB


class Resume(Struct, frozen=True):
    """The step is done, but the next request may not have been sent: send it (again), with this time."""

    onward: Next
    at: datetime


class Repeat(Struct, frozen=True):
    """The result of the step is recorded: publish what follows from it, without acting."""

    answer: Answer


#: What to do with a request.
Decision = Simple | Resume | Repeat


def begin(plan: Plan, request: Message, at: datetime) -> Message:
    """Create a saga from a client's request: sets slip and start (`at`), drops other client-supplied fields.

    Raises `BadMessage` if the user or the id is invalid.
    """
    return Message(
        v=request.v,
        id=request.id,
        user=new_user.accepted_user(request),
        saga=plan.name,
        attempt=request.attempt,
        started_at=at,
        slip=plan.slip(),
        idempotency=request.idempotency,
    )


def admit(plan: Plan, topic: str, message: Message, at: datetime, other_topics: Container[str] = ()) -> Message:
    """Validate a message and return the request for the step.

    On the first topic, a client's request becomes a new saga that started at `at`. On all other topics, the message
    must have a routing slip, and keeps its start time even if the local clock disagrees: only the initiator
    corrects it, see `with_plausible_start`. `other_topics`: the topics that exist in the cluster, because a saga that
    began with another plan continues by its own slip.

    Raises `BadMessage` with the problem.
    """
    if topic == plan.steps[0].topic:
        return begin(plan, message, at)
    if message.slip is None:
        raise BadMessage(f"slip: missing; only {plan.steps[0].topic} may omit it")
    if not plan.has_topics(message.slip):
        _check_topics(plan, message.slip, other_topics)
    return message


def _check_topics(plan: Plan, slip: Slip, other_topics: Container[str]) -> None:
    """Raise `BadMessage` for topics that are neither in the plan nor in the cluster."""
    wanted = slip.ahead + slip.back
    if wrong := [name for name in wanted if not (plan.on(name) or (name in other_topics and is_for_steps(name)))]:
        raise BadMessage(f"slip: unknown topic {', '.join(wrong)}; known topics are {', '.join(plan.topics)}")


def is_for_steps(topic: str) -> bool:
    """Whether a topic of this name can be the request topic of a step."""
    return topic not in (DLQ, SIGNALS) and not topic.endswith("-changelog") and not topic.startswith("__")


def with_plausible_start(message: Message, now: datetime) -> Message:
    """The message with its start time corrected to `now` if it is implausible: later than `now`, or before `EARLIEST`.

    `now` is the time by the initiator's clock. A missing start stays missing: the start in the row is used then.
    """
    started_at = message.started_at
    if started_at is None or EARLIEST <= started_at <= now:
        return message
    return replace_fields(message, started_at=now)


def answer_of(
    step: Step,
    outcome: Outcome,
    attempts: int,
    received_at: datetime,
    started_at: datetime,
    ended_at: datetime,
    failed: bool = False,
) -> Answer:
    """The result of a step: a history entry and facts.

    `failed`: a denial counts as a failure, because all attempts were used up. The times are put in order in case the
    clock was set back.
    """
    started_at = max(received_at, started_at)
    ended_at = max(started_at, ended_at)
    no: Literal["failed", "denied"] = "failed" if failed else "denied"
    line = Visit(
        step=step.name,
        service=step.service,
        attempts=attempts,
        received_at=received_at,
        started_at=started_at,
        ended_at=ended_at,
        outcome=no if isinstance(outcome, Denied) else "done",
        reason=outcome.reason if isinstance(outcome, Denied) else outcome.remark,
    )
    return Answer(line, {} if isinstance(outcome, Denied) else outcome.facts)


def next_after(request: Message, step: Step, answer: Answer) -> Next | End:
    """Decide where the saga goes after a step.

    A completed step leads to the next topic of the slip. A step that was denied or failed starts the rollback: the
    compensations of the completed steps become the topics ahead.
    """
    slip = request.slip or Slip([], [])
    history, facts = [*request.history, answer.visit], request.facts | answer.facts
    if slip.undoing:
        ahead, back, undoing = slip.ahead, slip.back, True
    elif answer.visit.outcome != "done":
        ahead, back, undoing = slip.back, [], True
    else:
        ahead, back, undoing = slip.ahead, [step.undo, *slip.back] if step.undo else slip.back, False
    onward = Slip(ahead[1:], back, undoing)
    message = replace_fields(request, attempt=1, facts=facts, slip=onward, history=history)
    return Next(ahead[0], message) if ahead else End(_end_state(message, undoing), message)


def _end_state(message: Message, undoing: bool) -> State:
    """The final state. Entries after the first denial are compensations; all must be done for a complete rollback."""
    if not undoing:
        return "completed"
    outcomes = [line.outcome for line in message.history]
    turn = next((i for i, outcome in enumerate(outcomes) if outcome != "done"), len(outcomes))
    return "rolled-back" if all(outcome == "done" for outcome in outcomes[turn + 1 :]) else "rollback-incomplete"


def row_waiting_for(plan: Plan, topic: str, message: Message, at: datetime) -> Row:
    """The row of a saga that waits for the step on this topic; `at`: the current time."""
    step = plan.on(topic)
    undoing = message.slip is not None and message.slip.undoing
    return _row(message, "rolling-back" if undoing else "running", step.name if step else topic, at)


def row_ended(end: End, at: datetime) -> Row:
    """The row of a saga that has ended; `at`: the current time."""
    row = _row(end.message, end.state, end.message.history[-1].step, at)
    row.ended_at = row.updated_at
    return row


def row_parked(plan: Plan, letter: Parked, row: Row | None = None) -> Row | None:
    """The row of a saga that is parked by a dead letter; None if the dead letter does not affect a saga.

    `row` is the current row of the saga that the letter names. It is used if the message in the letter is unreadable.
    """
    if letter.message is None:
        return _parked_as_known(plan, letter.letter, row) if row else None
    row = _row(letter.message, "parked", letter.letter.step, letter.letter.at)
    row.reason, row.updated_at = letter.letter.reason, letter.letter.at
    return row


def _parked_as_known(plan: Plan, letter: DeadLetter, row: Row) -> Row | None:
    """The parked row of a saga whose next request is unreadable; None if the saga does not wait for that request.

    The saga is parked at the step in its row, because that is the last step with a known request. An unreadable request
    on the first topic starts no saga, and must not stop an existing saga with the same id.
    """
    expected = [_topic(plan, row.step), *(row.slip.ahead if row.slip else ())]
    if row.state != "running" or letter.topic == plan.steps[0].topic or letter.topic not in expected:
        return None
    return replace_fields(row, state="parked", updated_at=letter.at, reason=letter.reason)


def _row(message: Message, state: State, step: str, at: datetime) -> Row:
    """`at`: the current time. No time in the row is before the start, even if the clocks of two services disagree."""
    started_at = message.started_at or at
    return Row(
        v=1,
        id=message.id,
        saga=message.saga,
        user=message.user,
        state=state,
        step=step,
        attempt=message.attempt,
        started_at=started_at,
        updated_at=max(at, started_at),
        reason=next((line.reason for line in message.history if line.outcome != "done"), None),
        facts=message.facts,
        slip=message.slip,
        history=message.history,
        idempotency=message.idempotency,
    )


def rank(row: Row) -> tuple[bool, bool, int, int, bool]:
    """How far along a saga is, compared in this order: ended, rolling back, completed steps, redrives, parked.

    Rolling back ranks above completed steps: a saga that an operator cancelled may still complete steps that the
    initiator does not know of yet.
    """
    return row.ended, is_rolling_back(row), len(row.history), row.attempt, row.state == "parked"


def is_rolling_back(row: Row) -> bool:
    """Whether a saga is rolling back, or is parked during its rollback."""
    undoing = row.state == "parked" and row.slip is not None and row.slip.undoing
    return row.state == "rolling-back" or undoing


def join(row: Row | None, news: Row) -> Row:
    """Join a row with new information: the one that is further along, with the flags of both.

    Returns the same object as `row` if nothing changes.
    """
    if row is None:
        return news
    if rank(news) <= rank(row):
        return row
    # A shortened dead letter lacks the facts.
    facts = row.facts | news.facts if news.state == "parked" else news.facts
    return replace_fields(
        news,
        facts=facts,
        started_at=min(row.started_at, news.started_at),
        overdue=row.overdue or news.overdue,
        due_at=row.due_at or news.due_at,
        origin=row.origin or news.origin,
        idempotency=row.idempotency or news.idempotency,
        trouble=row.trouble,
        order=news.order or row.order,
        awaited=row.awaited,
    )


def is_past(row: Row, request: Message) -> bool:
    """Whether the saga is past the step that this request is for, so that the request can be ignored.

    A saga that is exactly one step further is not past it: its row may have been written without the next request
    having been sent, see `resume_after`.
    """
    if row.ended or not is_rolling_back(row):
        return row.ended or len(row.history) > len(request.history) + 1
    return not is_compensating(request) or len(row.history) > len(request.history) + 1


def decide(plan: Plan, row: Row, request: Message) -> Decision:
    """What to do with a request to the initiator, judged by the row of its saga."""
    if is_past(row, request):
        return ABSORB
    onward = resume_after(plan, row, request)
    return Resume(onward, row.updated_at) if onward else ACT


def is_compensating(request: Message) -> bool:
    """Whether a request is part of a rollback."""
    return request.slip is not None and request.slip.undoing


def resume_after(plan: Plan, row: Row, request: Message) -> Next | None:
    """The next request of a saga whose row is exactly one step past `request`; None in all other cases.

    The caller sends it again, because it may not have been sent.
    """
    if row.state != "running" or is_compensating(request) or len(row.history) != len(request.history) + 1:
        return None
    return Next(_topic(plan, row.step), request_of(row))


class OperatorDecision(Struct, frozen=True):
    """What an operator's signal changes: the new row, and the next request of the saga."""

    row: Row
    onward: Next | None  #: None if there is nothing to compensate


def apply_operator_signal(plan: Plan, row: Row, signal: Signal) -> OperatorDecision | None:
    """Decide on a redrive or a cancellation; None if it no longer applies.

    Only a parked saga can be redriven, and only with the attempt after its current one. A saga that is running or
    parked can be cancelled. If the row is already the result of this signal, the same decision is returned, so that a
    redelivery sends the request again.
    """
    if row.order == signal and _is_result_of(row, signal):
        return OperatorDecision(row, Next(_topic(plan, row.step), request_of(row)))
    here = (signal.step, signal.attempt) == (row.step, row.attempt + 1)  # each step counts its attempts
    if signal.kind == "redriven" and row.state == "parked" and here:
        return _decision(
            plan, signal, Next(_topic(plan, row.step), replace_fields(request_of(row), attempt=signal.attempt))
        )
    if signal.kind == "cancelled" and row.state in CANCELLABLE_STATES and not is_rolling_back(row):
        return _decision(plan, signal, _cancel(plan, row, signal))
    return None


def _is_result_of(row: Row, signal: Signal) -> bool:
    """Whether this signal produced the row, and nothing has changed it since."""
    if signal.kind == "redriven":
        return row.state in ACTIVE_STATES and row.attempt == signal.attempt
    return row.state == "rolling-back" and bool(row.history) and row.history[-1].outcome == "cancelled"


def _decision(plan: Plan, signal: Signal, onward: Next | End) -> OperatorDecision:
    if isinstance(onward, End):
        return OperatorDecision(replace_fields(row_ended(onward, signal.at), order=signal), None)
    row = row_waiting_for(plan, onward.topic, onward.message, signal.at)
    return OperatorDecision(replace_fields(row, order=signal), onward)


def _cancel(plan: Plan, row: Row, signal: Signal) -> Next | End:
    """Start the rollback of a cancelled saga.

    It also compensates the current step and the steps ahead, because they may be completed without the initiator
    knowing yet.
    """
    old = row.slip or plan.slip()
    maybe = [plan.on(topic) for topic in reversed([_topic(plan, row.step), *old.ahead])]
    back = [step.undo for step in maybe if step and step.undo] + old.back
    step = plan.step_named(row.step)
    line = Visit(
        step=row.step,
        service=step.service if step else signal.service,
        attempts=1,
        received_at=row.updated_at,
        started_at=row.updated_at,
        ended_at=signal.at,
        outcome="cancelled",
        reason=f"cancelled by {signal.by or 'an operator'}",
    )
    message = replace_fields(
        request_of(row), attempt=1, history=[*row.history, line], slip=Slip(back[1:], [], undoing=True)
    )
    return Next(back[0], message) if back else End("rolled-back", message)


def request_of(row: Row) -> Message:
    """The request that a saga waits for, rebuilt from its row."""
    return Message(
        v=1,
        id=row.id,
        user=row.user,
        saga=row.saga,
        attempt=row.attempt,
        started_at=row.started_at,
        facts=row.facts,
        slip=row.slip,
        history=row.history,
        idempotency=row.idempotency,
    )


def _topic(plan: Plan, name: str) -> str:
    step = plan.step_named(name)
    return step.topic if step else name


def mark_signal(row: Row, signal: Signal) -> Row:
    """The row with a signal recorded: as the latest problem, as the overdue flag, and a redrive until it applies.

    The state does not change. Returns the same object as `row` if nothing changes.
    """
    if row.ended:
        return row
    marked = replace_fields(
        row,
        overdue=row.overdue or signal.kind == "overdue",
        due_at=row.due_at or signal.due_at,
        trouble=signal if row.trouble is None or signal.at > row.trouble.at else row.trouble,
        awaited=_awaited(row, signal),
    )
    return row if marked == row else marked


def _awaited(row: Row, signal: Signal) -> list[Signal] | None:
    """The redrives that were read before their dead letters, the latest for each step.

    A redrive of an earlier step or attempt is dropped, because its dead letter no longer matters.
    """
    if signal.kind != "redriven" or any(line.step == signal.step for line in row.history):
        return row.awaited
    if signal.step == row.step and signal.attempt <= row.attempt:
        return row.awaited
    before = {other.step: other for other in row.awaited or ()}
    known = before.get(signal.step)
    if known and known.attempt > signal.attempt:
        return row.awaited
    return [*(before | {signal.step: signal}).values()]


def awaited_redrive(row: Row) -> Signal | None:
    """The redrive, read before the dead letter, of the step at which this row is parked; None if there is none."""
    return next((signal for signal in row.awaited or () if signal.step == row.step), None)
