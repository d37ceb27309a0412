"""Fills the table of saga rows: writes rows of completed sagas directly to the changelog."""

from collections.abc import Iterable

from benchmarks.progress import Update
from benchmarks.testbed import Testbed
from benchmarks.users import NewUser
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.codec import encode
from saga_app.saga.messages import Row, Slip, User, Visit
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.times import iso, utc

TIMESTAMP = utc(1_767_268_800)

#: Rows written between two updates of the progress line.
ROWS_PER_UPDATE = 100_000

#: The format of the saga ids: as long as a UUID, and sorted before those of later sagas, like the ids of the console.
ID_FORMAT = "0-{:034d}"


def fill(testbed: Testbed, count: int, update: Update) -> list[bytes]:
    """Write `count` rows, and wait until the broker has acknowledged them. Returns their saga ids."""
    ids = [ID_FORMAT.format(number).encode() for number in range(count)]
    for start in range(0, count, ROWS_PER_UPDATE):
        update(f"filling the table, {start:,} of {count:,} rows")
        testbed.sender.burst(list(encoded_rows(ids[start : start + ROWS_PER_UPDATE])), ROWS_CHANGELOG)
    return ids


def encoded_rows(ids: Iterable[bytes]) -> Iterable[NewUser]:
    """A record for each id: key and encoded row."""
    sample_id = ID_FORMAT.format(0)
    before_id, after_id = encode(completed_row(sample_id)).split(sample_id.encode())
    return (NewUser(id, before_id + id + after_id) for id in ids)


def completed_row(id: str) -> Row:
    """The row of a completed saga, of realistic size."""
    history = [
        Visit(
            step=step.name,
            service=step.service,
            attempts=1,
            received_at=TIMESTAMP,
            started_at=TIMESTAMP,
            ended_at=TIMESTAMP,
            outcome="done",
        )
        for step in ONBOARDING.steps
    ]
    facts = {
        "device_id": "ThinkPad-ABCDEFGH",
        "authorizations": ["mail", "crm", "reports"],
        "notified_at": iso(TIMESTAMP),
    }
    return Row(
        v=1,
        id=id,
        saga=ONBOARDING.name,
        user=User("Katherine Liskov", "katherine.liskov@example.com", "Sales"),
        state="completed",
        step=ONBOARDING.steps[-1].name,
        attempt=1,
        started_at=TIMESTAMP,
        updated_at=TIMESTAMP,
        ended_at=TIMESTAMP,
        facts=facts,
        slip=Slip([], ["retract", "revoke", "deprovision"]),
        history=history,
        origin=(0, 0),
    )
