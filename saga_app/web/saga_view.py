"""The JSON representation of a saga, shared by the list, the single saga and the event stream."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from saga_app.active_plan import PLAN
from saga_app.saga.messages import Row, Visit
from saga_app.saga.timeline import Entry, why
from saga_app.saga.times import between, iso

_FACTS = tuple(fact.name for fact in PLAN.facts)

#: The fields of the latest signal that are shown.
_TROUBLE = ("kind", "step", "service", "at", "attempt", "attempts", "next_at", "reason")

_VISIT, _ENTRY = Visit.__struct_fields__, tuple(field.name for field in fields(Entry))


def view(row: Row, now: datetime, overtook: int | None = None) -> dict[str, Any]:
    """The representation of a saga: facts by name, times in ISO 8601, durations in seconds.

    `now`: the current time. `overtook`: how many sagas it overtook, if known. Some values are structs.
    """
    facts = row.facts
    return {
        "id": row.id,
        "saga": row.saga,
        "user": row.user,
        "state": row.state,
        "step": row.step,
        "attempt": row.attempt,
        **{name: facts.get(name) for name in _FACTS},
        "facts": facts,
        "started_at": iso(row.started_at),
        "updated_at": iso(row.updated_at),
        "ended_at": _iso(row.ended_at),
        "duration": between(row.started_at, row.ended_at) if row.ended_at else None,
        "overdue": row.overdue,
        "due_at": _iso(row.due_at),
        "reason": row.reason,
        "why": why(PLAN, row, now),
        "overtook": overtook,
        "trouble": row.trouble and {name: _shown(getattr(row.trouble, name)) for name in _TROUBLE},
        "history": [{name: _shown(getattr(visit, name)) for name in _VISIT} for visit in row.history],
    }


def entry_view(entry: Entry) -> dict[str, Any]:
    """The representation of a timeline entry."""
    shown = {name: _shown(getattr(entry, name)) for name in _ENTRY}
    return shown | {"data": {name: _shown(value) for name, value in entry.data.items()}}


def _shown(value: Any) -> Any:
    return iso(value) if isinstance(value, datetime) else value


def _iso(time: datetime | None) -> str | None:
    return None if time is None else iso(time)
