"""Checks of a rollback: all completed steps are compensated."""

from collections.abc import Iterator

from saga_app.audit.case import Case, Finding
from saga_app.audit.evidence import SeenRequest, SeenRow
from saga_app.audit.route import NON_REPEATABLE_STEPS, name_on
from saga_app.saga.record_id import RecordId


def undo_missing(case: Case) -> Iterator[Finding]:
    """Rolled back, but a step was not compensated, or ran again after its compensation."""
    if case.state == "rolled-back":
        for step in _compensated_steps(case, non_repeatable=False):
            if (wrong := _not_undone(case, step)) is not None:
                yield case.finding("undo-missing", f"rolled back, but {wrong}", *_proof(case, step))


def mail_after_rollback(case: Case) -> Iterator[Finding]:
    """Rolled back, but the welcome mail was not followed by a cancellation mail."""
    if case.state == "rolled-back":
        for step in _compensated_steps(case, non_repeatable=True):
            if (wrong := _not_undone(case, step)) is not None:
                sentence = f"rolled back, but the user got a mail that was not retracted: {wrong}"
                yield case.finding("mail-after-rollback", sentence, *_proof(case, step))


def _compensated_steps(case: Case, non_repeatable: bool) -> list[str]:
    """The steps that have a compensation, newest first.

    `non_repeatable`: those whose effect cannot be repeated safely, such as an e-mail; otherwise all others.
    """
    return [
        step
        for step in reversed(case.route.names)
        if case.route.undo_of(step) and (step in NON_REPEATABLE_STEPS) == non_repeatable
    ]


def _undo_name(case: Case, step: str) -> str:
    return name_on(case.route.undo_of(step) or "")


def _not_undone(case: Case, step: str) -> str | None:
    undo = _undo_name(case, step)
    if (step, "done") not in case.visits:
        return None
    if (undo, "nothing") in case.visits and (undo, "done") not in case.visits:
        return f"{step} was done, and {undo} found nothing to compensate"
    if (undo, "done") not in case.visits:
        return f"{step} was done, and {undo} was not"
    return f"{step} was done after {undo}" if _undo_came_first(case, step) else None


def _undo_came_first(case: Case, step: str) -> bool:
    """Whether the compensation ran first, by the clocks of the services and by the order of the records."""
    undo, acted = _undo_name(case, step), case.saga.acted
    if step not in acted or undo not in acted or acted[undo] >= acted[step]:
        return False
    done_at, compensated_at = _first_seen_at(case, step), _first_seen_at(case, undo)
    return done_at is not None and compensated_at is not None and done_at >= compensated_at


def _first_seen_at(case: Case, step: str) -> int | None:
    """The time of the first record in which this step is done; None if there is none."""
    records: list[SeenRequest | SeenRow] = [*case.requests, *case.rows]
    return min((each.at for each in records if (step, "done") in each.history), default=None)


def _proof(case: Case, step: str) -> list[RecordId | None]:
    """The row, the first message in which the step is done, and the last message."""
    first = next((each.place for each in case.requests if (step, "done") in each.history), None)
    return [case.last.place if case.last else None, first, case.requests[-1].place if case.requests else None]
