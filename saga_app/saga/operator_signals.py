"""What the signals about a saga change: redrives and cancellations by operators, failures, missed deadlines.

Pure functions.
"""

from msgspec import Struct

from saga_app.saga import saga_row
from saga_app.saga.codec import replace_fields
from saga_app.saga.decisions import End, Next
from saga_app.saga.messages import Row, Signal, Slip, Visit
from saga_app.saga.plan import Plan
from saga_app.saga.states import ACTIVE_STATES, CANCELLABLE_STATES


class OperatorDecision(Struct, frozen=True):
    """What an operator's signal changes: the new row, and the next request of the saga."""

    row: Row
    onward: Next | None  #: None if there is nothing to compensate


def apply_operator_signal(plan: Plan, row: Row, signal: Signal) -> OperatorDecision | None:
    """Decide on a redrive or a cancellation; None if it no longer applies.

    Only a parked saga can be redriven, and only with the attempt after its current one. A saga that is running or
    parked can be cancelled, unless it is already rolling back. If the row is already the result of this signal, the
    same decision is returned, so that a redelivery sends the request again.
    """
    if row.order == signal and _is_result_of(row, signal):
        return OperatorDecision(row, Next(saga_row.topic_of(plan, row), saga_row.request_of(row)))
    here = (signal.step, signal.attempt) == (row.step, row.attempt + 1)  # each step counts its attempts
    if signal.kind == "redriven" and row.state == "parked" and here:
        return _decision(
            plan,
            signal,
            Next(saga_row.topic_of(plan, row), replace_fields(saga_row.request_of(row), attempt=signal.attempt)),
        )
    if signal.kind == "cancelled" and row.state in CANCELLABLE_STATES and not saga_row.is_rolling_back(row):
        return _decision(plan, signal, _cancel(plan, row, signal))
    return None


def _is_result_of(row: Row, signal: Signal) -> bool:
    """Whether this signal produced the row, and nothing has changed it since."""
    if signal.kind == "redriven":
        return row.state in ACTIVE_STATES and row.attempt == signal.attempt
    return row.state == "rolling-back" and bool(row.history) and row.history[-1].outcome == "cancelled"


def _decision(plan: Plan, signal: Signal, onward: Next | End) -> OperatorDecision:
    if isinstance(onward, End):
        return OperatorDecision(replace_fields(saga_row.row_ended(onward, signal.at), order=signal), None)
    row = saga_row.row_waiting_for(plan, onward.topic, onward.message, signal.at)
    return OperatorDecision(replace_fields(row, order=signal), onward)


def _cancel(plan: Plan, row: Row, signal: Signal) -> Next | End:
    """Start the rollback of a cancelled saga.

    It also compensates the current step and the steps ahead, because they may be completed without the initiator
    knowing yet.
    """
    old = row.slip or plan.slip()
    maybe = [plan.on(topic) for topic in reversed([saga_row.topic_of(plan, row), *old.ahead])]
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
        saga_row.request_of(row), attempt=1, history=[*row.history, line], slip=Slip(back[1:], [], undoing=True)
    )
    return Next(back[0], message) if back else End("rolled-back", message)


def mark_signal(row: Row, signal: Signal) -> Row:
    """The row with a signal recorded: in `trouble` if it is the latest, in `overdue` if it reports a missed deadline,
    and in `awaited` if it is a redrive whose dead letter has not been read yet.

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
