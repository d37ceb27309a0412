"""The states of a saga."""

from typing import Literal, get_args

State = Literal["running", "completed", "rolling-back", "rolled-back", "parked", "rollback-incomplete"]

#: All states, in the order in which lists and counters show them.
STATES: tuple[State, ...] = get_args(State)

#: The final states: neither a service nor an operator changes a saga after them.
ENDED_STATES: frozenset[State] = frozenset({"completed", "rolled-back", "rollback-incomplete"})

#: States in which a saga proceeds without an operator.
ACTIVE_STATES: frozenset[State] = frozenset({"running", "rolling-back"})

#: States of a saga that an operator can still roll back.
CANCELLABLE_STATES: frozenset[State] = frozenset({"running", "parked"})

#: Final states after which a saga may be started again, with a new id.
REPEATABLE_STATES: frozenset[State] = ENDED_STATES - {"completed"}

#: States of a saga that is compensated, or was.
ROLLED_BACK_STATES: frozenset[State] = REPEATABLE_STATES | {"rolling-back"}
