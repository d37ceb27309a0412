"""The row of a saga: built from messages, and joined with new information. Pure functions.

A row is joined, not counted: of everything known about a saga, the state that is furthest along wins. Duplicate, late
and reordered messages therefore yield the same row.
"""

from datetime import datetime

from saga_app.saga.codec import replace_fields
from saga_app.saga.decisions import End
from saga_app.saga.messages import DeadLetter, Message, Parked, Row
from saga_app.saga.plan import Plan
from saga_app.saga.states import State


def row_waiting_for(plan: Plan, topic: str, message: Message, at: datetime) -> Row:
    """The row of a saga that waits for the step on this topic; `at`: when it changed."""
    step = plan.on(topic)
    undoing = message.slip is not None and message.slip.undoing
    return _row(message, "rolling-back" if undoing else "running", step.name if step else topic, at)


def row_ended(end: End, at: datetime) -> Row:
    """The row of a saga that has ended; `at`: when it changed."""
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
    """The parked row of a saga whose next request is unreadable.

    None unless the request is for the current step or one ahead.

    The saga is parked at the step in its row, because that is the last step with a known request. An unreadable request
    on the first topic starts no saga, and must not stop an existing saga with the same id.
    """
    expected = [topic_of(plan, row), *(row.slip.ahead if row.slip else ())]
    if row.state != "running" or letter.topic == plan.steps[0].topic or letter.topic not in expected:
        return None
    return replace_fields(row, state="parked", updated_at=letter.at, reason=letter.reason)


def _row(message: Message, state: State, step: str, at: datetime) -> Row:
    """`at`: when it changed. No time in the row is before the start, even if the clocks of two services disagree."""
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
    """Join a row with new information. If `news` is further along, it is returned with the flags of `row` added.

    Otherwise the same object as `row` is returned.
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


def topic_of(plan: Plan, row: Row) -> str:
    """The topic of the step that a saga waits for."""
    step = plan.step_named(row.step)
    return step.topic if step else row.step
