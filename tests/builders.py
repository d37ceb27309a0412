"""Messages and rows for tests, made the way that the services make them."""

from saga_app.saga import machine
from saga_app.saga.messages import Message, User
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Denied, Done, Outcome
from saga_app.saga.times import iso

ADA = User("Ada Lovelace", "ada@example.com", "Engineering")
START = 1_700_000_000.0
FACTS = {
    "provision": {"device_id": "LT-1"},
    "authorize": {"authorizations": ["git"]},
    "notify": {"notified_at": iso(START + 3)},
}


def at(seconds: float) -> str:
    """A time so many seconds after the start of the test's saga."""
    return iso(START + seconds)


def requested(id: str = "ada") -> Message:
    """A saga that was just begun."""
    return machine.begin(ONBOARDING, Message(v=1, id=id, user=ADA), at(0))


def journey(outcomes: dict[str, Outcome] | None = None, id: str = "ada") -> list[tuple[str, Message] | machine.End]:
    """Every message of a saga, with its topic, and its end; `outcomes` says what differs from done, by step."""
    topic, message = ONBOARDING.steps[0].topic, requested(id)
    path: list[tuple[str, Message] | machine.End] = [(topic, message)]
    for second in range(20):
        step = ONBOARDING.on(topic)
        assert step is not None
        outcome = (outcomes or {}).get(step.name) or Done(FACTS.get(step.name, {}))
        answer = machine.answer_of(step, outcome, 1, at(second), at(second), at(second + 1))
        after = machine.next_after(message, step, answer)
        if isinstance(after, machine.End):
            return [*path, after]
        topic, message = after.topic, after.message
        path.append((topic, message))
    raise AssertionError("a saga that does not end")


def topics(path: list[tuple[str, Message] | machine.End]) -> list[str]:
    """Where the saga went, and its end state."""
    return [stop.state if isinstance(stop, machine.End) else stop[0] for stop in path]


NO = Denied("no policy for the department")
