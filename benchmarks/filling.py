"""Rows of sagas long completed, straight into the changelog."""

from collections.abc import Callable, Iterable

from benchmarks.stage import Stage
from benchmarks.users import NewUser
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import Row, Slip, User, Visit, encode
from saga_app.saga.onboarding import ONBOARDING

AT = "2026-01-01T12:00:00.000Z"

#: Rows handed over between two words about it.
PORTION = 100_000

#: As long as a UUID. They stand before those of later sagas, as those that we make do: ids sort by time.
ID = "0-{:034d}"


def fill(stage: Stage, count: int, more: Callable[[str], None]) -> list[bytes]:
    """So many, acknowledged; their ids."""
    ids = [ID.format(number).encode() for number in range(count)]
    for start in range(0, count, PORTION):
        more(f"filling the table, {start:,} of {count:,} rows")
        stage.sender.burst(list(rows(ids[start : start + PORTION])), ROWS_CHANGELOG)
    return ids


def rows(ids: Iterable[bytes]) -> Iterable[NewUser]:
    """Keys and values."""
    pattern = ID.format(0)
    before, behind = encode(row(pattern)).split(pattern.encode())
    return (NewUser(id, before + id + behind) for id in ids)


def row(id: str) -> Row:
    """A completed saga, as long as a real one."""
    history = [Visit(step.name, step.service, 1, AT, AT, AT, "done") for step in ONBOARDING.steps]
    facts = {"device_id": "ThinkPad-ABCDEFGH", "authorizations": ["mail", "crm", "reports"], "notified_at": AT}
    return Row(
        v=1,
        id=id,
        saga=ONBOARDING.name,
        user=User("Katherine Liskov", "katherine.liskov@example.com", "Sales"),
        state="completed",
        step=ONBOARDING.steps[-1].name,
        attempt=1,
        started_at=AT,
        updated_at=AT,
        ended_at=AT,
        facts=facts,
        slip=Slip([], ["retract", "revoke", "deprovision"]),
        history=history,
        origin=(0, 0),
    )
