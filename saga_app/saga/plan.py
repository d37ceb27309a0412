"""What a saga is made of: steps, their compensations, their outcomes, and the words by which they are shown."""

import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from saga_app.saga.messages import DLQ, SIGNALS, Message, Slip
from saga_app.saga.retry import Retry

#: The icons that the page has for a step.
Icon = Literal["step", "device", "key", "mail", "flag", "book", "person", "card", "box", "gear"]

#: How many steps a plan can have: the page shows one station for each.
MIN_STEPS, MAX_STEPS = 2, 8

#: The name of the service that shows the sagas. It is not part of any plan.
CONSOLE = "console"

#: Fields of a saga that no fact can have the name of.
RESERVED_FACTS = frozenset(
    "id saga user state step attempt facts started_at updated_at ended_at duration overdue due_at reason why overtook "
    "trouble history explanation idempotency cursor_event".split()
)

_FACT = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_TOPIC = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Done:
    """The step has happened; `facts` is what it found out, `remark` what a person may want to know."""

    facts: dict[str, Any] = field(default_factory=dict)
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """The step will not happen, for a reason that a person understands. The saga is compensated."""

    reason: str


Outcome = Done | Denied


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a step finds out.

    `name` is its key in the facts of a saga, `label` what people call it. `shown_as` says how it is displayed: as it
    is, as a list with commas, or as a time (ISO 8601 UTC).
    """

    name: str
    label: str
    shown_as: Literal["text", "list", "time"] = "text"


@dataclass(frozen=True, slots=True)
class Words:
    """How a step is shown on the page, on the command line and in timelines. What is left out follows from its name."""

    summary: str = ""  #: what the step does, in a verb phrase: "assigns a device"
    requested: str = ""  #: "Device requested"
    done: str = ""  #: "Device assigned"
    not_needed: str = ""  #: of a compensation that had nothing to compensate: "No follow-up e-mail needed"
    icon: Icon = "step"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga: the topic of its requests, the service that does it, how, and what compensates it."""

    name: str
    topic: str
    service: str
    act: Callable[[Message, Any], Coroutine[Any, Any, Outcome]]
    undo: str | None = None  #: the topic of its compensation
    fact: Fact | None = None  #: what it finds out
    words: Words = Words()
    lag: bool = True  #: whether SAGA_LAG and the rates of injected faults apply to it
    noted: bool = False  #: whether its result is recorded, because the outside world would repeat the effect
    deadline: float = 60.0  #: seconds after which a saga that waits for this step is overdue
    retry: Retry = field(default_factory=Retry)
    #: How many attempts a worker makes at once (None: no limit). Waiting for a turn does not count as an attempt.
    at_once: int | None = None

    @property
    def label(self) -> str:
        """The service's name as people write it."""
        return self.service.replace("-", " ").capitalize()

    @property
    def requested(self) -> str:
        """What a timeline says when the step was requested."""
        return self.words.requested or f"{self.name.replace('-', ' ').capitalize()} requested"

    @property
    def done(self) -> str:
        """What a timeline says when the step is done."""
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
    def facts(self) -> tuple[Fact, ...]:
        """What the steps find out, in the order of the plan."""
        return tuple(step.fact for step in self.steps if step.fact)

    @cached_property
    def _by_topic(self) -> dict[str, Step]:
        return {step.topic: step for step in self.all_steps}

    @cached_property
    def _by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.all_steps}

    def named(self, name: str) -> Step | None:
        """The step of this name."""
        return self._by_name.get(name)

    def on(self, topic: str) -> Step | None:
        """The step whose requests are on a topic."""
        return self._by_topic.get(topic)

    def of(self, service: str) -> tuple[Step, ...]:
        """The steps and compensations that a service does."""
        return tuple(step for step in self.all_steps if step.service == service)

    def compensated_by(self, topic: str) -> tuple[Step, ...]:
        """The steps that the compensation of this topic compensates."""
        return tuple(step for step in self.steps if step.undo == topic)

    def is_compensation(self, name: str) -> bool:
        """Whether the step of this name is a compensation."""
        return any(step.name == name for step in self.compensations)

    def slip(self) -> Slip:
        """The routing slip with which a saga begins."""
        return Slip([step.topic for step in self.steps[1:]], [])


def _problems(plan: Plan) -> Iterator[str]:
    """What is inconsistent, each with the name of its step."""
    if not MIN_STEPS <= len(plan.steps) <= MAX_STEPS:
        yield f"it has {len(plan.steps)} steps; {MIN_STEPS} to {MAX_STEPS} are possible"
        return
    names, facts = [step.name for step in plan.all_steps], [fact.name for fact in plan.facts]
    for what, values in (("name", names), ("topic", list(plan.topics)), ("fact", facts)):
        if twice := next((value for value in values if values.count(value) > 1), None):
            yield f"two steps have the {what} {twice}"
    for fact in plan.facts:
        if not _FACT.fullmatch(fact.name) or fact.name in RESERVED_FACTS:
            rule = "names are lower-case letters, digits and underscores, and none of a saga's own fields"
            yield f"the fact {fact.name} is not possible: {rule}"
    for step in plan.all_steps:
        yield from _problems_of(plan, step)
    if plan.steps[-1].service != plan.initiator:
        yield f"step {plan.steps[-1].name} ends the saga, so its service has to be {plan.initiator}"
    yield from _problems_of_compensations(plan)


def _problems_of(plan: Plan, step: Step) -> Iterator[str]:
    if not _NAME.fullmatch(step.name) or not _NAME.fullmatch(step.service) or step.service == CONSOLE:
        yield (
            f"step {step.name} of service {step.service}: names are lower-case letters, digits and dashes, up to 40; "
            f"{CONSOLE} is taken"
        )
    if not _TOPIC.fullmatch(step.topic) or step.topic in (DLQ, SIGNALS) or step.topic.endswith("-changelog"):
        yield f"step {step.name}: the topic {step.topic} is not possible"
    if step.words.icon not in get_args(Icon):
        yield f"step {step.name}: no icon {step.words.icon}; there are {', '.join(get_args(Icon))}"
    if step.service == plan.initiator and step.retry.is_long:
        # It keeps the rows, and has no table for requests that wait outside their partition.
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
