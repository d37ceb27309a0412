"""The definition of a saga: steps, compensations, outcomes, and display texts."""

import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from msgspec import Struct

from saga_app.saga.messages import DLQ, SIGNALS, Message, Slip
from saga_app.saga.retry import Retry

#: The icons that the page has for a step.
Icon = Literal["step", "device", "key", "mail", "flag", "book", "person", "card", "box", "gear"]

#: How many steps a plan can have: the page shows one station for each.
MIN_STEPS, MAX_STEPS = 2, 8

#: The name of the service with the page and the HTTP API. It is not part of any plan.
CONSOLE = "console"

#: Names that a fact cannot have, because they are fields of a saga.
RESERVED_FACTS = frozenset(
    "id saga user state step attempt facts started_at updated_at ended_at duration overdue due_at reason why overtook "
    "trouble history explanation idempotency cursor_event".split()
)

_FACT = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_TOPIC = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


class Done(Struct, frozen=True):
    """The step succeeded. `facts` are merged into the facts of the saga; `remark` is shown in the timeline."""

    facts: dict[str, Any] = {}
    remark: str | None = None


class Denied(Struct, frozen=True):
    """The step was refused, with a human-readable reason. The completed steps are compensated."""

    reason: str


Outcome = Done | Denied


@dataclass(frozen=True, slots=True)
class Fact:
    """A value that a step returns.

    `name`: its key in the facts of a saga. `label`: its display name. `shown_as`: displayed as text, as a list with
    commas, or as a time (ISO 8601 UTC).
    """

    name: str
    label: str
    shown_as: Literal["text", "list", "time"] = "text"


@dataclass(frozen=True, slots=True)
class Words:
    """Display texts of a step for the page, the command line and timelines. Defaults are derived from its name."""

    summary: str = ""  #: what the step does, in a verb phrase: "assigns a device"
    requested: str = ""  #: "Device requested"
    done: str = ""  #: "Device assigned"
    not_needed: str = ""  #: for a compensation with nothing to compensate: "No follow-up e-mail needed"
    icon: Icon = "step"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga: its request topic, the service that performs it, its function, and its compensation."""

    name: str
    topic: str
    service: str
    act: Callable[[Message, Any], Coroutine[Any, Any, Outcome]]
    undo: str | None = None  #: the topic of its compensation
    fact: Fact | None = None  #: the value that it returns
    words: Words = Words()
    lag: bool = True  #: whether SAGA_LAG and the rates of injected faults apply to it
    recorded: bool = False  #: whether its result is recorded, because a second call would repeat the effect
    deadline: float = 60.0  #: seconds after which a saga that waits for this step is overdue
    retry: Retry = field(default_factory=Retry)
    #: Maximum number of concurrent attempts per worker (None: no limit). Waiting for a slot does not count as an
    #: attempt.
    at_once: int | None = None

    @property
    def label(self) -> str:
        """The display name of the service."""
        return self.service.replace("-", " ").capitalize()

    @property
    def requested(self) -> str:
        """The timeline text for a request of this step."""
        return self.words.requested or f"{self.name.replace('-', ' ').capitalize()} requested"

    @property
    def done(self) -> str:
        """The timeline text for the completion of this step."""
        return self.words.done or f"{self.name.replace('-', ' ').capitalize()} done"


@dataclass(frozen=True, eq=False)
class Plan:
    """A saga: the steps in order, and their compensations.

    Everything else derives from it: topics, services, ports, consumer groups, tables, audit, page. The service of the
    first step starts the saga, keeps its row, and ends it; so the last step and the compensation of the first step
    belong to that service.

    Raises `ValueError` with the name of the step if the plan is inconsistent.
    """

    name: str
    steps: tuple[Step, ...]
    compensations: tuple[Step, ...]

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise ValueError(f"saga {self.name}: {problem}")

    @cached_property
    def all_steps(self) -> tuple[Step, ...]:
        """Steps in order, then compensations."""
        return self.steps + self.compensations

    @cached_property
    def initiator(self) -> str:
        """The service that starts the saga, keeps its row, and ends it."""
        return self.steps[0].service

    @cached_property
    def services(self) -> tuple[str, ...]:
        """The services, in the order in which the plan names them. Each is a consumer group of the same name."""
        return tuple(dict.fromkeys(step.service for step in self.all_steps))

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """The topics of all steps, in the order of the plan, compensations last."""
        return tuple(step.topic for step in self.all_steps)

    @cached_property
    def _topics(self) -> frozenset[str]:
        return frozenset(self.topics)

    def has_topics(self, slip: Slip) -> bool:
        """Whether all topics of a routing slip are topics of this plan."""
        return self._topics.issuperset(slip.ahead) and self._topics.issuperset(slip.back)

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """The facts of all steps, in the order of the plan."""
        return tuple(step.fact for step in self.steps if step.fact)

    @cached_property
    def _by_topic(self) -> dict[str, Step]:
        return {step.topic: step for step in self.all_steps}

    @cached_property
    def _by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.all_steps}

    def step_named(self, name: str) -> Step | None:
        """The step or compensation with this name, or None."""
        return self._by_name.get(name)

    def on(self, topic: str) -> Step | None:
        """The step or compensation whose requests are on this topic, or None."""
        return self._by_topic.get(topic)

    def of(self, service: str) -> tuple[Step, ...]:
        """The steps and compensations that a service performs."""
        return tuple(step for step in self.all_steps if step.service == service)

    def compensated_by(self, topic: str) -> tuple[Step, ...]:
        """The steps that the compensation on this topic reverses."""
        return tuple(step for step in self.steps if step.undo == topic)

    def slip(self) -> Slip:
        """The routing slip of a new saga."""
        return Slip(ahead=[step.topic for step in self.steps[1:]], back=[])


def _problems(plan: Plan) -> Iterator[str]:
    """The inconsistencies of a plan, each with the name of its step."""
    if not MIN_STEPS <= len(plan.steps) <= MAX_STEPS:
        yield f"it has {len(plan.steps)} steps; allowed are {MIN_STEPS} to {MAX_STEPS}"
        return
    names, facts = [step.name for step in plan.all_steps], [fact.name for fact in plan.facts]
    for what, values in (("name", names), ("topic", list(plan.topics)), ("fact", facts)):
        if twice := next((value for value in values if values.count(value) > 1), None):
            yield f"two steps have the {what} {twice}"
    for fact in plan.facts:
        if not _FACT.fullmatch(fact.name) or fact.name in RESERVED_FACTS:
            rule = "use lower-case letters, digits and underscores, and not the name of a saga's own field"
            yield f"the fact name {fact.name} is not allowed: {rule}"
    for step in plan.all_steps:
        yield from _problems_of(plan, step)
    if plan.steps[-1].service != plan.initiator:
        yield f"step {plan.steps[-1].name} ends the saga, so its service has to be {plan.initiator}"
    yield from _problems_of_compensations(plan)


def _problems_of(plan: Plan, step: Step) -> Iterator[str]:
    if not _NAME.fullmatch(step.name) or not _NAME.fullmatch(step.service) or step.service == CONSOLE:
        yield (
            f"step {step.name} of service {step.service}: names are lower-case letters, digits and dashes, up to 40; "
            f"{CONSOLE} is reserved"
        )
    if not _TOPIC.fullmatch(step.topic) or step.topic in (DLQ, SIGNALS) or step.topic.endswith("-changelog"):
        yield f"step {step.name}: the topic name {step.topic} is not allowed"
    if step.words.icon not in get_args(Icon):
        yield f"step {step.name}: unknown icon {step.words.icon}; allowed are {', '.join(get_args(Icon))}"
    if step.service == plan.initiator and step.retry.is_long:
        # The initiator has no table for requests that wait outside their partition.
        limit = f"at {step.service} the longest delay between attempts is {step.retry.hold:g} s"
        yield f"retry of step {step.name}: {limit}"


def _problems_of_compensations(plan: Plan) -> Iterator[str]:
    known = {step.topic: step for step in plan.compensations}
    for step in plan.steps:
        if step.undo and step.undo not in known:
            yield f"step {step.name} names the compensation {step.undo}, which is not in the plan"
    first = known.get(plan.steps[0].undo or "")
    if plan.compensations and (first is None or first.service != plan.initiator):
        yield (
            f"step {plan.steps[0].name} needs a compensation by {plan.initiator}: it is the last one of a rollback, "
            "and records its end"
        )
    unused = [step.name for step in plan.compensations if not plan.compensated_by(step.topic)]
    if unused:
        yield f"compensation {unused[0]} compensates no step"
