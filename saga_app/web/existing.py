"""The response to a request for an id that exists: the state of the existing saga, and what the client can do."""

from dataclasses import dataclass
from datetime import datetime

from saga_app.active_plan import PLAN
from saga_app.saga.messages import Row, User
from saga_app.saga.states import State
from saga_app.saga.timeline import why

#: What to do about an existing saga, by its state. {} stands for the id.
_NEXT: dict[str, str] = {
    "running": "wait for it to end, or roll it back: saga rollback {}",
    "completed": "the user is onboarded; another onboarding needs another id",
    "rolling-back": "wait until it is rolled back",
    "rolled-back": 'to begin again, send the user with this id and "again": true (saga new --id {} --again)',
    "parked": "redrive it or roll it back: saga redrive {}, saga rollback {}",
    "rollback-incomplete": (
        "compensate manually what its rollback left (saga show {}), then begin again: saga new --id {} --again"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingSaga:
    """An existing saga: its user, the HTTP request that started it, and its state."""

    user: User
    idempotency: str | None = None
    state: State = "running"
    reason: str | None = None
    why: str = "just accepted"  #: a sentence, as `timeline.why` makes it

    def conflict(self, id: str) -> str:
        """Why the id cannot be used, and what the client can do."""
        how = f"running: {self.why}" if self.state == "running" else self.why
        return f"the id {id} exists already ({how}); {_NEXT[self.state].replace('{}', id)}"


def existing(row: Row, now: datetime) -> ExistingSaga:
    """Create the description from a saga row; `now`: the current time."""
    return ExistingSaga(
        user=row.user,
        idempotency=row.idempotency,
        state=row.state,
        reason=row.reason,
        why=why(PLAN, row, now),
    )
