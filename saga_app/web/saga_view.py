"""The JSON representation of a saga, shared by the list, the single saga and the event stream."""

from typing import Any

from saga_app.active_plan import PLAN
from saga_app.saga.messages import Row
from saga_app.saga.timeline import why
from saga_app.saga.times import between

_FACTS = tuple(fact.name for fact in PLAN.facts)

#: The fields of the latest signal that are shown.
_TROUBLE = ("kind", "step", "service", "at", "attempt", "attempts", "next_at", "reason")


def view(row: Row, now: str, overtook: int | None = None) -> dict[str, Any]:
    """The representation of a saga: facts by name, times in ISO 8601, durations in seconds.

    `now`: an ISO time. `overtook`: how many sagas it overtook, if known. Values may be dataclasses, which orjson
    serializes as objects.
    """
    facts, trouble = row.facts, row.trouble
    return {
        "id": row.id,
        "saga": row.saga,
        "user": row.user,
        "state": row.state,
        "step": row.step,
        "attempt": row.attempt,
        **{name: facts.get(name) for name in _FACTS},
        "facts": facts,
        "started_at": row.started_at,
        "updated_at": row.updated_at,
        "ended_at": row.ended_at,
        "duration": between(row.started_at, row.ended_at) if row.ended_at else None,
        "overdue": row.overdue,
        "due_at": row.due_at,
        "reason": row.reason,
        "why": why(PLAN, row, now),
        "overtook": overtook,
        "trouble": trouble and {name: getattr(trouble, name) for name in _TROUBLE},
        "history": row.history,
    }
