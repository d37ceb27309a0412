"""What a client is told of a saga whose id it wants to use again: how that saga stands or ended, and what to do."""

from dataclasses import dataclass

from saga_app.active_plan import PLAN
from saga_app.saga.messages import Row, State, User
from saga_app.saga.timeline import why

#: What somebody who wants to use the id again can do. {} is the id.
_NEXT: dict[str, str] = {
    "running": "wait for it to end, or undo it: saga rollback {}",
    "completed": "the user is onboarded; another onboarding needs another id",
    "rolling-back": "wait until it is rolled back",
    "rolled-back": 'to begin again, send the user with this id and "again": true (saga new --id {} --again)',
    "parked": "redrive it or undo it: saga redrive {}, saga rollback {}",
    "rollback-incomplete": (
        "undo by hand what its rollback left (saga show {}), then begin again: saga new --id {} --again"
    ),
}


#: After these another saga of the same user may begin.
ROLLED_BACK = ("rolled-back", "rollback-incomplete")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingSaga:
    """A saga that exists: whose it is, which HTTP request started it, and how it stands."""

    user: User
    idempotency: str | None = None
    state: State = "running"
    reason: str | None = None
    why: str = "accepted a moment ago"  #: a sentence, as `timeline.why` makes it

    def conflict(self, id: str) -> str:
        """Why the id cannot be used again, and what to do about it."""
        how = f"running: {self.why}" if self.state == "running" else self.why
        return f"the id {id} exists already ({how}); {_NEXT[self.state].replace('{}', id)}"


def existing(row: Row, now: str) -> ExistingSaga:
    """Of a saga's row; `now` is an ISO time."""
    return ExistingSaga(
        user=row.user,
        idempotency=row.idempotency,
        state=row.state,
        reason=row.reason,
        why=why(PLAN, row, now),
    )
