"""The route of a saga, its steps, topics and compensations, according to its routing slip.

A saga finishes by the plan with which it began. The current plan only supplies what the slip does not contain: names of
steps, and the route of a saga without a slip.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from saga_app.active_plan import PLAN, READS
from saga_app.audit.evidence import SeenRequest, SeenRow, SlipSeen
from saga_app.saga.states import CANCELLABLE_STATES

FIRST = PLAN.steps[0].topic

#: The consumer group that reads each topic.
GROUP_OF: Mapping[str, str] = {topic: group for group, topics in READS.items() for topic in topics}

#: Steps whose effect would be repeated by a second execution.
NON_REPEATABLE_STEPS = frozenset(step.name for step in PLAN.steps if step.recorded)

#: The fact of the first step, and facts of other steps that do not change when a step is repeated.
FIRST_FACT = PLAN.steps[0].fact.name if PLAN.steps[0].fact else None
LASTING_FACTS = tuple(step.fact.name for step in PLAN.steps[1:] if step.fact and not step.recorded)


@dataclass(frozen=True)
class Route:
    """The steps of a saga in order: name, topic, topic of the compensation."""

    names: tuple[str, ...]
    topics: tuple[str, ...]
    undos: tuple[str | None, ...]
    #: Whether it comes from a routing slip; otherwise it is the current plan.
    is_proven: bool = False

    @cached_property
    def compensations(self) -> tuple[str, ...]:
        """Topics of the compensations in the order of a rollback, newest step first."""
        return tuple(dict.fromkeys(undo for undo in reversed(self.undos) if undo))

    def topic_of(self, step: str) -> str:
        """The topic on which a step or a compensation is requested."""
        if step in self.names:
            return self.topics[self.names.index(step)]
        known = PLAN.step_named(step)
        return known.topic if known else step

    def step_of(self, topic: str) -> str:
        """The name of the step that is requested on a topic."""
        return self.names[self.topics.index(topic)] if topic in self.topics else name_on(topic)

    def undo_of(self, step: str) -> str | None:
        """The topic of the compensation of a step, if it has one."""
        return self.undos[self.names.index(step)] if step in self.names else None

    def knows(self, step: str) -> bool:
        """Whether the route has a step or a compensation of this name."""
        return step in self.names or self.topic_of(step) in self.compensations


#: The route of the current plan.
CURRENT_ROUTE = Route(
    tuple(step.name for step in PLAN.steps),
    tuple(step.topic for step in PLAN.steps),
    tuple(step.undo for step in PLAN.steps),
)
_PROVEN = Route(CURRENT_ROUTE.names, CURRENT_ROUTE.topics, CURRENT_ROUTE.undos, True)


def name_on(topic: str) -> str:
    """The name of the step of a topic in the current plan; the topic itself if it has none."""
    step = PLAN.on(topic)
    return step.name if step else topic


def route_of(messages: Iterable[SeenRequest], rows: Iterable[SeenRow]) -> Route:
    """The route according to the slips of a saga's messages and rows; the current plan if there are none."""
    slips: dict[int, SlipSeen] = {}
    topics: dict[int, str] = {0: FIRST}
    names: dict[int, str] = {}
    seen: list[SeenRequest | SeenRow] = [*messages, *rows]
    for each in seen:
        done = next((place for place, (_, outcome) in enumerate(each.history) if outcome != "done"), len(each.history))
        names.update(enumerate(step for step, _ in each.history[:done]))
        if each.slip is None or each.slip.undoing or done < len(each.history):
            continue
        slips.setdefault(done, each.slip)
        if isinstance(each, SeenRequest):
            topics[done] = each.topic
        elif each.state in CANCELLABLE_STATES:  # it waits for this step, whose request may not have been sent
            topics.setdefault(done, CURRENT_ROUTE.topic_of(each.step))
        topics.update(enumerate(each.slip.ahead, done + 1))
    if not slips:
        return CURRENT_ROUTE
    count = max(topics) + 1
    forward = tuple(topics.get(place) or CURRENT_ROUTE.topic_of(names.get(place, "")) for place in range(count))
    undos = tuple(_undo_of(place, forward[place], slips) for place in range(count))
    if forward == CURRENT_ROUTE.topics and undos == CURRENT_ROUTE.undos:
        return _PROVEN
    return Route(tuple(names.get(place) or name_on(topic) for place, topic in enumerate(forward)), forward, undos, True)


def _undo_of(place: int, topic: str, slips: Mapping[int, SlipSeen]) -> str | None:
    """The compensation that a step has added to the slip; that of the current plan if the slips do not show it."""
    before, after = (() if place == 0 else slips[place].back if place in slips else None), slips.get(place + 1)
    if before is not None and after is not None:
        return after.back[0] if len(after.back) > len(before) else None
    step = PLAN.on(topic)
    return step.undo if step else None
