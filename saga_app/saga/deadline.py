"""Deadlines: when a saga becomes overdue. The whole saga has a deadline, and so has each step that it waits for.

A retry policy that spans hours moves the deadline: while attempts are made on schedule, the saga is retrying, not
overdue.
"""

from datetime import datetime
from functools import lru_cache

from saga_app.saga.messages import Row, Signal
from saga_app.saga.plan import Plan
from saga_app.saga.retry import MAX_HELD_DELAY_S
from saga_app.saga.states import ACTIVE_STATES
from saga_app.saga.times import between, iso, utc

#: Time allowed for a planned attempt to report its result, after it was due (seconds).
ATTEMPT_GRACE_S = 30.0


def due(plan: Plan, row: Row, seconds: float) -> float:
    """The time at which a saga becomes overdue, in seconds since 1970 (UTC).

    It is the earlier of two deadlines: that of the whole saga, `seconds` after its start, and that of the steps in
    progress. The initiator sees a saga again only when a request returns to it, so the deadlines of the consecutive
    steps at other services are added up. If the next attempt waits outside its partition, the saga becomes overdue no
    earlier than `ATTEMPT_GRACE_S` after that attempt is due.
    """
    allowed_s = _steps_deadline_s(plan, row.step, *row.slip.ahead if row.slip else ())
    due_at = min(row.started_at.timestamp() + seconds, _requested_at(row).timestamp() + allowed_s)
    retry = planned_retry(plan, row)
    if retry is None or retry.next_at is None or between(retry.at, retry.next_at) <= MAX_HELD_DELAY_S:
        return due_at
    return max(due_at, retry.next_at.timestamp() + ATTEMPT_GRACE_S)


def planned_retry(plan: Plan, row: Row) -> Signal | None:
    """The signal of the latest failed attempt, if a retry is planned for a step that the saga still waits for."""
    failed = row.trouble
    if failed is None or failed.kind != "failed" or failed.next_at is None or row.state not in ACTIVE_STATES:
        return None
    ahead = (plan.on(topic) for topic in (row.slip.ahead if row.slip else ()))
    expected = {row.step, *(step.name for step in ahead if step)}
    return failed if failed.step in expected else None


def _requested_at(row: Row) -> datetime:
    """When the current step was requested, on the initiator's clock.

    The clock of the service that performed the previous step may be slow, so the time of the row counts if it is later.
    """
    return max(row.history[-1].ended_at, row.updated_at) if row.history else row.started_at


@lru_cache(maxsize=1024)
def _steps_deadline_s(plan: Plan, step: str, *ahead: str) -> float:
    """Seconds allowed for this step and for the steps after it, up to the first one that the initiator performs."""
    initiator, here = plan.steps[0].service, plan.step_named(step)
    waited = [here] if here else []
    for topic in ahead:
        step_ahead = plan.on(topic)
        if step_ahead is None or initiator in (step_ahead.service, waited[-1].service if waited else initiator):
            break
        waited.append(step_ahead)
    return sum(each.deadline for each in waited)


def overdue_signal(plan: Plan, row: Row, due_at: float, now: float) -> Signal:
    """The signal that reports a saga as overdue, with the step it is known to wait for, and why.

    `due_at` is the missed deadline; both times are in seconds since 1970.
    """
    at, reason = _step_and_reason(plan, row, now)
    step = plan.step_named(at)
    return Signal(
        v=1,
        id=row.id,
        saga=row.saga,
        kind="overdue",
        step=at,
        service=step.service if step else "",
        at=utc(now),
        attempt=row.attempt,
        reason=reason,
        due_at=utc(due_at),
    )


def _step_and_reason(plan: Plan, row: Row, now: float) -> tuple[str, str]:
    """The step that the saga waits for, and why. Progress at other services is known only from signals of retries."""
    if row.state == "parked":
        return row.step, f"parked: {row.reason}"
    retry = planned_retry(plan, row)
    if retry and retry.next_at:
        if now < retry.next_at.timestamp() + ATTEMPT_GRACE_S:
            return retry.step, f"retrying: {retry.reason}"
        attempt = f"attempt {retry.attempt + 1} of {retry.attempts}"
        return (
            retry.step,
            f"{attempt} was due at {iso(retry.next_at)} and has not reported a result; last failure: {retry.reason}",
        )
    return row.step, f"no message received since {row.step} was requested at {iso(_requested_at(row))}"
