"""Messages and rows for tests, created by the same functions as in the services."""

from datetime import datetime
from typing import Any

from saga_app.saga import admission, decisions, machine, saga_row
from saga_app.saga.messages import Message, Row, User
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Denied, Done, Outcome
from saga_app.saga.times import iso, utc

#: A message and its topic, or the end of the saga.
Stop = tuple[str, Message] | decisions.End

ADA = User("Ada Lovelace", "ada@example.com", "Engineering")

#: When the sagas of the tests begin (seconds since 1970).
START = 1_700_000_000.0

#: The facts that each step returns.
FACTS: dict[str, dict[str, Any]] = {
    "provision": {"device_id": "LT-1"},
    "authorize": {"authorizations": ["git"]},
    "notify": {"notified_at": iso(utc(START + 3))},
}

#: The outcome of a step that is denied.
NO = Denied("no policy for the department")


def at(seconds: float) -> datetime:
    """The time `seconds` after `START`."""
    return utc(START + seconds)


def requested(id: str = "ada") -> Message:
    """The first message of a saga."""
    return admission.begin(ONBOARDING, Message(v=1, id=id, user=ADA), at(0))


def journey(outcomes: dict[str, Outcome] | None = None, id: str = "ada") -> list[Stop]:
    """Every message of a saga, with its topic, and its end.

    `outcomes`: the outcome of each step, by name; the default is `Done` with the step's `FACTS`.
    """
    topic, message = ONBOARDING.steps[0].topic, requested(id)
    path: list[Stop] = [(topic, message)]
    for second in range(20):
        step = ONBOARDING.on(topic)
        assert step is not None
        outcome = (outcomes or {}).get(step.name) or Done(FACTS.get(step.name, {}))
        answer = machine.answer_of(step, outcome, 1, at(second), at(second), at(second + 1))
        after = machine.next_after(message, step, answer)
        if isinstance(after, decisions.End):
            return [*path, after]
        topic, message = after.topic, after.message
        path.append((topic, message))
    raise AssertionError("the saga did not end after 20 steps")


def request_to(topic: str, outcomes: dict[str, Outcome] | None = None) -> Message:
    """The message on this topic in the saga that `journey` describes."""
    return dict(stop for stop in journey(outcomes) if not isinstance(stop, decisions.End))[topic]


def waiting_row(topic: str, second: float = 1, outcomes: dict[str, Outcome] | None = None) -> Row:
    """The row of a saga that waits for the step of this topic, updated `second` seconds after `START`."""
    return saga_row.row_waiting_for(ONBOARDING, topic, request_to(topic, outcomes), at(second))


def end_of_journey(outcomes: dict[str, Outcome] | None = None) -> decisions.End:
    """The end of the saga that `journey` describes."""
    end = journey(outcomes)[-1]
    assert isinstance(end, decisions.End)
    return end


def topics(path: list[Stop]) -> list[str]:
    """The topics of a saga in order, then its final state."""
    return [stop.state if isinstance(stop, decisions.End) else stop[0] for stop in path]
