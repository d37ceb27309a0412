"""What follows what. Pure functions: a service decides with them, and its loop acts.

`begin` turns a client's request into a saga, `following` says where it goes after a step, `directed` what an operator's
signal leads to, and `join` keeps the row.
A row is not counted forward but chosen: of all that is known about a saga, the state that is furthest along. So
messages may come twice, late, and in any order; the row is the same in the end.
"""

from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Literal

from saga_app.saga import new_user
from saga_app.saga.messages import (
    DLQ,
    SIGNALS,
    Answer,
    BadMessage,
    DeadLetter,
    Message,
    Parked,
    Row,
    Signal,
    Slip,
    State,
    Visit,
    changed,
)
from saga_app.saga.plan import Denied, Outcome, Plan, Step
from saga_app.saga.times import EARLIEST_S, iso

#: No saga has started before this.
EARLIEST = iso(EARLIEST_S)


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


def begin(plan: Plan, request: Message, at: str) -> Message:
    """A client's request with the slip and the start time of its saga; whatever else the client wrote is not ours."""
    return Message(
        v=request.v,
        id=request.id,
        user=request.user,
        saga=plan.name,
        attempt=request.attempt,
        started_at=at,
        slip=plan.slip(),
        idempotency=request.idempotency,
    )


def admit(plan: Plan, topic: str, message: Message, at: str, other_topics: Container[str] = ()) -> Message:
    """A message that a step can work on: on the first topic a client's request made a saga, elsewhere one with a slip.

    `at` is when a client asked for the saga (ISO): its start. A later message keeps the start that it carries, whatever
    this service's clock says: only the keeper of the rows may correct it, see `with_believable_start`.
    `other_topics` are those that exist in the cluster: a saga that began by another plan goes on by its own slip.
    Raises `BadMessage` with what is wrong.
    """
    if topic == plan.steps[0].topic:
        new_user.check(message)
        return begin(plan, message, at)
    if message.slip is None:
        raise BadMessage(f"slip: missing; only {plan.steps[0].topic} may come without one")
    wanted = message.slip.ahead + message.slip.back
    if wrong := [name for name in wanted if not (plan.on(name) or (name in other_topics and is_for_steps(name)))]:
        raise BadMessage(f"slip: unknown topic {', '.join(wrong)}; known are {', '.join(plan.topics)}")
    return message


def is_for_steps(topic: str) -> bool:
    """Whether the steps of a plan may use a topic of this name."""
    return topic not in (DLQ, SIGNALS) and not topic.endswith("-changelog") and not topic.startswith("__")


def with_believable_start(message: Message, now: str) -> Message:
    """The message with a start that is not later than `now` (ISO) on the clock of the keeper of the rows.

    A start that is missing stays missing: the row's own counts then.
    """
    started_at = message.started_at
    if started_at is None or EARLIEST <= started_at <= now:
        return message
    return changed(message, started_at=now)


def answer_of(
    step: Step,
    outcome: Outcome,
    attempts: int,
    received_at: str,
    started_at: str,
    ended_at: str,
    failed: bool = False,
) -> Answer:
    """What a step adds to its saga: a line of history, and facts; `failed`: the "no" is our own giving up.

    The times are in order, also when the clock was set back in between.
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
    """Done moves one place ahead; denied turns the saga round, so that ahead becomes back."""
    slip = request.slip or Slip([], [])
    history, facts = [*request.history, answer.visit], request.facts | answer.facts
    if slip.undoing:
        ahead, back, undoing = slip.ahead, slip.back, True
    elif answer.visit.outcome != "done":
        ahead, back, undoing = slip.back, [], True
    else:
        ahead, back, undoing = slip.ahead, [step.undo, *slip.back] if step.undo else slip.back, False
    onward = Slip(ahead[1:], back, undoing)
    message = changed(request, attempt=1, facts=facts, slip=onward, history=history)
    return Next(ahead[0], message) if ahead else End(_end_state(message, undoing), message)


def _end_state(message: Message, undoing: bool) -> State:
    """A rollback is complete only if every undo is done: whatever follows the first "no" is one."""
    if not undoing:
        return "completed"
    outcomes = [line.outcome for line in message.history]
    turn = next((i for i, outcome in enumerate(outcomes) if outcome != "done"), len(outcomes))
    return "rolled-back" if all(outcome == "done" for outcome in outcomes[turn + 1 :]) else "rollback-incomplete"


def row_waiting_for(plan: Plan, topic: str, message: Message, at: str) -> Row:
    """The row of a saga that waits for the step of this topic."""
    step = plan.on(topic)
    undoing = message.slip is not None and message.slip.undoing
    return _row(message, "rolling-back" if undoing else "running", step.name if step else topic, at)


def row_ended(end: End, at: str) -> Row:
    """The row of a saga that has ended."""
    row = _row(end.message, end.state, end.message.history[-1].step, at)
    row.ended_at = row.updated_at
    return row


def row_parked(plan: Plan, letter: Parked, row: Row | None = None) -> Row | None:
    """The row of a saga that waits for an operator; None if the dead letter concerns no saga.

    `row` is what is known of the saga that the letter names: without a readable message, it is all there is.
    """
    if letter.message is None:
        return _parked_as_known(plan, letter.letter, row) if row else None
    row = _row(letter.message, "parked", letter.letter.step, letter.letter.at)
    row.reason, row.updated_at = letter.letter.reason, letter.letter.at
    return row


def _parked_as_known(plan: Plan, letter: DeadLetter, row: Row) -> Row | None:
    """The row of a saga that waits for a step whose request cannot be read, or for one on the way to that step.

    It is parked at the step from which it can go on, for that is the last one of which the request is known. A request
    on the first topic that cannot be read begins no saga, and does not stop another one that has its id.
    """
    expected = [_topic(plan, row.step), *(row.slip.ahead if row.slip else ())]
    if row.state != "running" or letter.topic == plan.steps[0].topic or letter.topic not in expected:
        return None
    return changed(row, state="parked", updated_at=letter.at, reason=letter.reason)


def _row(message: Message, state: State, step: str, at: str) -> Row:
    """`at` is now (ISO). Nothing happens before the start, even if the clocks of two services disagree."""
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
    """How far along a saga is: ended, then on its way back, then steps behind it, then redrives, then parked.

    On its way back goes before the steps: when an operator turns a saga round, it may go forward unheard of.
    """
    return row.ended, is_turned(row), len(row.history), row.attempt, row.state == "parked"


def is_turned(row: Row) -> bool:
    """Whether a saga is on its way back, also when it is parked there."""
    undoing = row.state == "parked" and row.slip is not None and row.slip.undoing
    return row.state == "rolling-back" or undoing


def join(row: Row | None, news: Row) -> Row:
    """What is known now: the further of the two, with the marks of both. The very same row if nothing is new."""
    if row is None:
        return news
    if rank(news) <= rank(row):
        return row
    # A dead letter may lack facts that were too large for it.
    facts = row.facts | news.facts if news.state == "parked" else news.facts
    return changed(
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
    """Whether what this request leads to has been seen already: then it is late, and there is nothing left to do.

    A saga that is just one step further may have been noted without its message having been sent: see `resumed`.
    """
    if row.ended or not is_turned(row):
        return row.ended or len(row.history) > len(request.history) + 1
    return not is_compensating(request) or len(row.history) > len(request.history) + 1


def is_compensating(request: Message) -> bool:
    """Whether a request is on the way back."""
    return request.slip is not None and request.slip.undoing


def resume_after(plan: Plan, row: Row, request: Message) -> Next | None:
    """What has followed a request already, if its row is just one step further: it may not have been sent."""
    if row.state != "running" or is_compensating(request) or len(row.history) != len(request.history) + 1:
        return None
    return Next(_topic(plan, row.step), request_of(row))


@dataclass(frozen=True, slots=True)
class Turn:
    """What an operator's signal leads to: the row as it is from now on, and the message that sends the saga on."""

    row: Row
    onward: Next | None  #: None if there is nothing to undo


def apply_operator_signal(plan: Plan, row: Row, signal: Signal) -> Turn | None:
    """What an operator asked for, if it still applies; the same again if this very signal has led to the row.

    A parked saga is redriven with the attempt that follows its own. A saga that is running or parked is turned round.
    """
    if row.order == signal and _is_turn(row, signal):
        return Turn(row, Next(_topic(plan, row.step), request_of(row)))
    here = (signal.step, signal.attempt) == (row.step, row.attempt + 1)  # each step counts its attempts
    if signal.kind == "redriven" and row.state == "parked" and here:
        return _turn(plan, signal, Next(_topic(plan, row.step), replace(request_of(row), attempt=signal.attempt)))
    if signal.kind == "cancelled" and row.state in ("running", "parked") and not is_turned(row):
        return _turn(plan, signal, _back(plan, row, signal))
    return None


def _is_turn(row: Row, signal: Signal) -> bool:
    """Whether a row is what this signal has made of it, and nothing has been heard since."""
    if signal.kind == "redriven":
        return row.state in ("running", "rolling-back") and row.attempt == signal.attempt
    return row.state == "rolling-back" and bool(row.history) and row.history[-1].outcome == "cancelled"


def _turn(plan: Plan, signal: Signal, onward: Next | End) -> Turn:
    if isinstance(onward, End):
        return Turn(replace(row_ended(onward, signal.at), order=signal), None)
    return Turn(replace(row_waiting_for(plan, onward.topic, onward.message, signal.at), order=signal), onward)


def _back(plan: Plan, row: Row, signal: Signal) -> Next | End:
    """The way back from anywhere: the step that is waited for and those ahead may have been done unheard of."""
    slip = row.slip or plan.slip()
    maybe = [plan.on(topic) for topic in reversed([_topic(plan, row.step), *slip.ahead])]
    back = [step.undo for step in maybe if step and step.undo] + slip.back
    step = plan.named(row.step)
    line = Visit(
        step=row.step,
        service=step.service if step else signal.service,
        attempts=1,
        received_at=row.updated_at,
        started_at=row.updated_at,
        ended_at=signal.at,
        outcome="cancelled",
        reason=f"cancelled by {signal.by or 'somebody'}",
    )
    message = replace(request_of(row), attempt=1, history=[*row.history, line], slip=Slip(back[1:], [], undoing=True))
    return Next(back[0], message) if back else End("rolled-back", message)


def request_of(row: Row) -> Message:
    """The request that a saga waits for, as its row has it."""
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
    step = plan.named(name)
    return step.topic if step else name


def mark_signal(row: Row, signal: Signal) -> Row:
    """A signal changes no state: it is kept as the latest trouble, `overdue` as a mark, a redrive until it applies."""
    if row.ended:
        return row
    marked = replace(
        row,
        overdue=row.overdue or signal.kind == "overdue",
        due_at=row.due_at or signal.due_at,
        trouble=signal if row.trouble is None or signal.at > row.trouble.at else row.trouble,
        awaited=_awaited(row, signal),
    )
    return row if marked == row else marked


def _awaited(row: Row, signal: Signal) -> list[Signal] | None:
    """The redrives that wait for their dead letters, the latest of each step; one that is behind what is known will not
    get any.
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
    """The redrive that was read before the dead letter of the step that this row is parked at."""
    return next((signal for signal in row.awaited or () if signal.step == row.step), None)
