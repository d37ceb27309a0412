"""When a saga is overdue. A saga has a deadline as a whole, and each step that it waits for has one of its own.

A step whose retry policy spans hours moves the deadline: as long as attempts are made when they were planned, the saga
is retrying and not overdue.
"""

from functools import lru_cache

from saga_app.saga.messages import Row, Signal
from saga_app.saga.plan import Plan
from saga_app.saga.retry import MAX_HELD_DELAY_S
from saga_app.saga.times import epoch, iso

#: How long after its time an attempt may still be under way (seconds).
TRYING_S = 30.0

#: The states in which steps are attempted.
UNDER_WAY = ("running", "rolling-back")


def due(plan: Plan, row: Row, seconds: float) -> float:
    """The earlier of the two deadlines, in seconds since 1970; `seconds` is how long a whole saga may take.

    Who keeps the rows hears of a saga again only when it comes back, so the steps until then are waited for together.
    After a failed attempt whose next one is planned outside the partition, it is that time and `TRYING_S`, if later.
    """
    patience = _patience(plan, row.step, *row.slip.ahead if row.slip else ())
    due_at = min(epoch(row.started_at) + seconds, epoch(_asked_at(row)) + patience)
    retry = planned_retry(plan, row)
    if retry is None or retry.next_at is None or epoch(retry.next_at) - epoch(retry.at) <= MAX_HELD_DELAY_S:
        return due_at
    return max(due_at, epoch(retry.next_at) + TRYING_S)


def planned_retry(plan: Plan, row: Row) -> Signal | None:
    """The signal of the latest failed attempt, if another one is planned of a step that the saga still waits for."""
    failed = row.trouble
    if failed is None or failed.kind != "failed" or failed.next_at is None or row.state not in UNDER_WAY:
        return None
    ahead = (plan.on(topic) for topic in (row.slip.ahead if row.slip else ()))
    expected = {row.step, *(step.name for step in ahead if step)}
    return failed if failed.step in expected else None


def _asked_at(row: Row) -> str:
    """When its step was asked for, on the clock of the keeper of the rows.

    The step before it may have ended at a service whose clock is behind; the row was then written later than that.
    """
    return max(row.history[-1].ended_at, row.updated_at) if row.history else row.started_at


@lru_cache(maxsize=1024)
def _patience(plan: Plan, step: str, *ahead: str) -> float:
    """How long the steps may take that are not heard of: this one, and those ahead until one of the keeper's."""
    keeper, here = plan.steps[0].service, plan.named(step)
    waited = [here] if here else []
    for topic in ahead:
        step_ahead = plan.on(topic)
        if step_ahead is None or keeper in (step_ahead.service, waited[-1].service if waited else keeper):
            break
        waited.append(step_ahead)
    return sum(each.deadline for each in waited)


def missed(plan: Plan, row: Row, due_at: float, now: float) -> Signal:
    """That a saga is overdue: the step that it waits for as far as is known, and why."""
    at, reason = _stuck(plan, row, now)
    step = plan.named(at)
    return Signal(
        v=1,
        id=row.id,
        saga=row.saga,
        kind="overdue",
        step=at,
        service=step.service if step else "",
        at=iso(now),
        attempt=row.attempt,
        reason=reason,
        due_at=iso(due_at),
    )


def _stuck(plan: Plan, row: Row, now: float) -> tuple[str, str]:
    """At which step, and why. A step that is being tried again is known from its signals, the others are not."""
    if row.state == "parked":
        return row.step, f"parked: {row.reason}"
    retry = planned_retry(plan, row)
    if retry and retry.next_at and now < epoch(retry.next_at) + TRYING_S:
        return retry.step, f"it is tried again and again: {retry.reason}"
    if retry:
        attempt = f"attempt {retry.attempt + 1} of {retry.attempts}"
        return retry.step, f"{attempt} was due at {retry.next_at}, and no result of it is known: {retry.reason}"
    return row.step, f"nothing has been heard since {row.step} was asked for at {_asked_at(row)}"
