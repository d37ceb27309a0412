"""Admits requests to a step, and turns a client's request into a saga. Pure functions."""

from collections.abc import Container
from datetime import datetime

from saga_app.saga import new_user
from saga_app.saga.codec import BadMessage, replace_fields
from saga_app.saga.messages import DLQ, SIGNALS, Message, Slip
from saga_app.saga.plan import Plan
from saga_app.saga.times import EARLIEST_S, utc

#: The earliest plausible start of a saga.
EARLIEST = utc(EARLIEST_S)


def begin(plan: Plan, request: Message, at: datetime) -> Message:
    """Create a saga from a client's request: sets slip and start (`at`), drops other client-supplied fields.

    Raises `BadMessage` if the user or the id is invalid.
    """
    return Message(
        v=request.v,
        id=request.id,
        user=new_user.accepted_user(request),
        saga=plan.name,
        attempt=request.attempt,
        started_at=at,
        slip=plan.slip(),
        idempotency=request.idempotency,
    )


def admit(plan: Plan, topic: str, message: Message, at: datetime, other_topics: Container[str] = ()) -> Message:
    """Validate a message and return the request for the step.

    On the first topic, a client's request becomes a new saga that started at `at`. On all other topics, the message
    must have a routing slip, and keeps its start time even if the local clock disagrees: only the initiator
    corrects it, see `with_plausible_start`. `other_topics`: the topics that exist in the cluster, because a saga that
    began with another plan continues by its own slip.

    Raises `BadMessage` with the problem.
    """
    if topic == plan.steps[0].topic:
        return begin(plan, message, at)
    if message.slip is None:
        raise BadMessage(f"slip: missing; only {plan.steps[0].topic} may omit it")
    if not plan.has_topics(message.slip):
        _check_topics(plan, message.slip, other_topics)
    return message


def _check_topics(plan: Plan, slip: Slip, other_topics: Container[str]) -> None:
    """Raise `BadMessage` for topics that are neither in the plan nor in the cluster."""
    wanted = slip.ahead + slip.back
    if wrong := [name for name in wanted if not (plan.on(name) or (name in other_topics and is_for_steps(name)))]:
        raise BadMessage(f"slip: unknown topic {', '.join(wrong)}; known topics are {', '.join(plan.topics)}")


def is_for_steps(topic: str) -> bool:
    """Whether a topic of this name can be the request topic of a step."""
    return topic not in (DLQ, SIGNALS) and not topic.endswith("-changelog") and not topic.startswith("__")


def with_plausible_start(message: Message, now: datetime) -> Message:
    """The message with its start time corrected to `now` if it is implausible: later than `now`, or before `EARLIEST`.

    `now` is the time by the initiator's clock. A missing start stays missing: the start in the row is used then.
    """
    started_at = message.started_at
    if started_at is None or EARLIEST <= started_at <= now:
        return message
    return replace_fields(message, started_at=now)
