"""A saga as HTTP shows it: one shape for the list, for one saga, and for the stream."""

from typing import Any

from saga_app.saga.messages import Row
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.timeline import why
from saga_app.saga.times import between


def view(row: Row, now: str, overtook: int | None = None) -> dict[str, Any]:
    """Facts, times (ISO 8601), seconds, and the sentence that says why. `now` is an ISO time.

    Its values may be dataclasses, which orjson writes as objects.
    """
    facts, trouble = row.facts, row.trouble
    return {
        "id": row.id,
        "saga": row.saga,
        "user": row.user,
        "state": row.state,
        "step": row.step,
        "attempt": row.attempt,
        "device_id": facts.get("device_id"),
        "authorizations": facts.get("authorizations"),
        "notified_at": facts.get("notified_at"),
        "started_at": row.started_at,
        "updated_at": row.updated_at,
        "ended_at": row.ended_at,
        "duration": between(row.started_at, row.ended_at) if row.ended_at else None,
        "overdue": row.overdue,
        "due_at": row.due_at,
        "reason": row.reason,
        "why": why(ONBOARDING, row, now),
        "overtook": overtook,
        "trouble": trouble and {name: getattr(trouble, name) for name in _TROUBLE},
        "history": row.history,
    }


#: Of the latest signal: enough to say "3rd of 5, again in 8 s".
_TROUBLE = ("kind", "step", "service", "at", "attempt", "attempts", "next_at", "reason")
