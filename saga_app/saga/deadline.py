"""When a saga is overdue. A saga has a deadline as a whole, and each step that it waits for has one of its own."""

from functools import lru_cache

from saga_app.saga.messages import Row, Signal
from saga_app.saga.steps import Plan
from saga_app.saga.times import epoch, iso

#: How long after its time an attempt may still be under way (seconds).
TRYING_S = 30.0


def due(plan: Plan, row: Row, seconds: float) -> float:
    """The earlier of the two deadlines, in seconds since 1970; `seconds` is how long a whole saga may take.

    Who keeps the rows hears of a saga again only when it comes back, so the steps until then are waited for together.
    """
    patience = _patience(plan, row.step, *row.slip.ahead if row.slip else ())
    return min(epoch(row.started_at) + seconds, epoch(_asked_at(row)) + patience)


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
    at, reason = _stuck(row, now)
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


def _stuck(row: Row, now: float) -> tuple[str, str]:
    """At which step, and why. A step that is being tried again is known from its signals, the others are not."""
    if row.state == "parked":
        return row.step, f"parked: {row.reason}"
    trouble = row.trouble
    if trouble and trouble.kind == "failed" and trouble.next_at and now < epoch(trouble.next_at) + TRYING_S:
        return trouble.step, f"it is tried again and again: {trouble.reason}"
    return row.step, f"nothing has been heard since {row.step} was asked for at {_asked_at(row)}"
