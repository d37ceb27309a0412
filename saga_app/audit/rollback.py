"""The way back: what was done is undone, and who was told hears that it is void."""

from collections.abc import Iterator

from saga_app.audit.case import Case, Finding
from saga_app.audit.evidence import Asked, Noted, Place
from saga_app.audit.route import NOTED, name_on


def undo_missing(case: Case) -> Iterator[Finding]:
    """Rolled back, but a step that was done was not undone, or was done again after its undo."""
    if case.state == "rolled-back":
        for step in _compensated_steps(case, noted=False):
            if (wrong := _not_undone(case, step)) is not None:
                yield case.finding("undo-missing", f"rolled back, but {wrong}", *_proof(case, step))


def mail_after_rollback(case: Case) -> Iterator[Finding]:
    """Rolled back, but the user was told to come, and was not told otherwise."""
    if case.state == "rolled-back":
        for step in _compensated_steps(case, noted=True):
            if (wrong := _not_undone(case, step)) is not None:
                sentence = f"rolled back, but its user got a mail that was not taken back: {wrong}"
                yield case.finding("mail-after-rollback", sentence, *_proof(case, step))


def _compensated_steps(case: Case, noted: bool) -> list[str]:
    """Its steps that have a compensation, the newest first; `noted`: those whose effect the outside world repeats."""
    return [step for step in reversed(case.route.names) if case.route.undo_of(step) and (step in NOTED) == noted]


def _undo_name(case: Case, step: str) -> str:
    return name_on(case.route.undo_of(step) or "")


def _not_undone(case: Case, step: str) -> str | None:
    undo = _undo_name(case, step)
    if (step, "done") not in case.visits:
        return None
    if (undo, "nothing") in case.visits and (undo, "done") not in case.visits:
        return f"{step} was done, and {undo} found nothing to take back"
    if (undo, "done") not in case.visits:
        return f"{step} was done, and {undo} was not"
    return f"{step} was done after {undo}" if _undo_came_first(case, step) else None


def _undo_came_first(case: Case, step: str) -> bool:
    """By the clocks of those who did it, and by the order in which the broker heard of it."""
    undo, acted = _undo_name(case, step), case.saga.acted
    if step not in acted or undo not in acted or acted[undo] >= acted[step]:
        return False
    told, undone = _heard(case, step), _heard(case, undo)
    return told is not None and undone is not None and told >= undone


def _heard(case: Case, step: str) -> int | None:
    """When the first record came that says that this was done."""
    records: list[Asked | Noted] = [*case.asked, *case.rows]
    return min((each.at for each in records if (step, "done") in each.history), default=None)


def _proof(case: Case, step: str) -> list[Place | None]:
    """The row, the first message that says that the step was done, and the last one that was sent."""
    first = next((each.place for each in case.asked if (step, "done") in each.history), None)
    return [case.last.place if case.last else None, first, case.asked[-1].place if case.asked else None]
