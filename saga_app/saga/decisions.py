"""What can be decided about a saga and its requests, as data. The loop of a service carries it out."""

from datetime import datetime
from enum import Enum

from msgspec import Struct

from saga_app.saga.messages import Answer, Message
from saga_app.saga.states import State


class Next(Struct, frozen=True):
    """The saga continues: send this message to this topic."""

    topic: str
    message: Message


class End(Struct, frozen=True):
    """The saga ends in this state; there is nothing to send."""

    state: State
    message: Message


class Simple(Enum):
    """A decision that needs no details."""

    ACT = "make the next attempt"
    ABSORB = "ignore the request: it is a duplicate, or its step must not act any more"


ACT, ABSORB = Simple.ACT, Simple.ABSORB


class Resume(Struct, frozen=True):
    """The step is done, but the next request may not have been sent: send it (again). `at`: the time in its headers."""

    onward: Next
    at: datetime


class Repeat(Struct, frozen=True):
    """The result of the step is recorded: publish what follows from it, without acting."""

    answer: Answer


#: What to do with a request.
Decision = Simple | Resume | Repeat
