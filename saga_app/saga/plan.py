"""What a saga is made of: steps, their undos, their outcomes."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from saga_app.saga.messages import Message, Slip
from saga_app.saga.retry import Retry


@dataclass(frozen=True, slots=True)
class Done:
    """The step has happened; `facts` is what it found out, `remark` what a person may want to know."""

    facts: dict[str, Any] = field(default_factory=dict)
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """The step will not happen, for a reason that a person understands. The saga goes back."""

    reason: str


Outcome = Done | Denied


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga: the topic on which it is asked for, the service that does it, how, and what undoes it."""

    name: str
    topic: str
    service: str
    act: Callable[[Message, Any], Coroutine[Any, Any, Outcome]]
    undo: str | None = None  #: the topic of the step that undoes this one
    lag: bool = True  #: whether the mock world takes its time over it
    noted: bool = False  #: whether its answer is remembered, because the world does not: a mail sent twice is two mails
    deadline: float = 60.0  #: seconds after which a saga that waits for this step is overdue
    retry: Retry = field(default_factory=Retry)
    #: How many of it a worker does at once (None: as many as come); the others wait, and that is no attempt.
    at_once: int | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """A saga: the steps in order, and the steps that undo them."""

    name: str
    steps: tuple[Step, ...]
    compensations: tuple[Step, ...]
    _by_topic: dict[str, Step] = field(default_factory=dict, init=False, repr=False, compare=False)
    _by_name: dict[str, Step] = field(default_factory=dict, init=False, repr=False, compare=False)
    _ahead: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_topic.update({step.topic: step for step in self.steps + self.compensations})
        self._by_name.update({step.name: step for step in self.steps + self.compensations})
        self._ahead.extend(step.topic for step in self.steps[1:])
        known = {undo.topic for undo in self.compensations}
        for step in self.steps:
            if step.undo and step.undo not in known:
                raise ValueError(f"saga {self.name}: step {step.name} names the undo {step.undo}, which is no step")
        for step in self.of(self.steps[0].service):  # it keeps the saga rows, and has no table for waiting requests
            if step.retry.is_long:
                limit = f"at {step.service} the longest delay between attempts is {step.retry.hold:g} s"
                raise ValueError(f"saga {self.name}: retry of step {step.name}: {limit}")

    def named(self, name: str) -> Step | None:
        """The step of this name."""
        return self._by_name.get(name)

    def compensated_by(self, topic: str) -> tuple[Step, ...]:
        """The steps that the step of this topic undoes."""
        return tuple(step for step in self.steps if step.undo == topic)

    @cached_property
    def topics(self) -> tuple[str, ...]:
        """The topics of all steps, in the order of the plan, undos last."""
        return tuple(step.topic for step in self.steps + self.compensations)

    def of(self, service: str) -> tuple[Step, ...]:
        """The steps that a service does."""
        return tuple(step for step in self.steps + self.compensations if step.service == service)

    def on(self, topic: str) -> Step | None:
        """The step that is asked for on a topic."""
        return self._by_topic.get(topic)

    def slip(self) -> Slip:
        """The routing slip with which a saga begins."""
        return Slip(list(self._ahead), [])
