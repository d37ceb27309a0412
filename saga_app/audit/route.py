"""The route of a saga: its steps, their topics and compensations, by the routing slip that it carried.

A saga finishes by the plan with which it began, so today's plan only supplies what the slip does not say: the names of
steps, and the route of a saga of which no slip is left.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from saga_app.active_plan import PLAN, READS
from saga_app.audit.evidence import Asked, Noted, SlipSeen

FIRST = PLAN.steps[0].topic

#: Whoever asks for a compensation has turned the saga: its row has one of these states.
TURNED = frozenset({"rolling-back", "rolled-back", "rollback-incomplete"})

#: The consumer group that reads each topic.
GROUP_OF: Mapping[str, str] = {topic: group for group, topics in READS.items() for topic in topics}

#: Steps whose effect the outside world would repeat.
NOTED = frozenset(step.name for step in PLAN.steps if step.noted)

#: The fact of the first step, and those of others that stay the same when a step is repeated.
FIRST_FACT = PLAN.steps[0].fact.name if PLAN.steps[0].fact else None
LASTING_FACTS = tuple(step.fact.name for step in PLAN.steps[1:] if step.fact and not step.noted)


@dataclass(frozen=True)
class Route:
    """The steps of a saga in order: name, topic, topic of the compensation."""

    names: tuple[str, ...]
    topics: tuple[str, ...]
    undos: tuple[str | None, ...]
    #: Whether the slip of a message says so; else it is today's plan.
    is_proven: bool = False

    @cached_property
    def compensations(self) -> tuple[str, ...]:
        """Topics of the compensations, in the order of a rollback: of the newest step first."""
        return tuple(dict.fromkeys(undo for undo in reversed(self.undos) if undo))

    def topic_of(self, step: str) -> str:
        """The topic on which a step or a compensation is requested."""
        if step in self.names:
            return self.topics[self.names.index(step)]
        known = PLAN.named(step)
        return known.topic if known else step

    def step_of(self, topic: str) -> str:
        """The name of the step that is requested on a topic."""
        return self.names[self.topics.index(topic)] if topic in self.topics else name_on(topic)

    def undo_of(self, step: str) -> str | None:
        """The topic of the compensation of a step, if it has one."""
        return self.undos[self.names.index(step)] if step in self.names else None

    def knows(self, step: str) -> bool:
        """Whether it has a step of this name, or a compensation."""
        return step in self.names or self.topic_of(step) in self.compensations


#: The route by today's plan.
PLANNED = Route(
    tuple(step.name for step in PLAN.steps),
    tuple(step.topic for step in PLAN.steps),
    tuple(step.undo for step in PLAN.steps),
)
_PROVEN = Route(PLANNED.names, PLANNED.topics, PLANNED.undos, True)


def name_on(topic: str) -> str:
    """The name that today's plan has for the step of a topic; the topic itself for one that it does not have."""
    step = PLAN.on(topic)
    return step.name if step else topic


def route_of(messages: Iterable[Asked], rows: Iterable[Noted]) -> Route:
    """The route that the slips of a saga's messages and rows say; that of today's plan if there are none."""
    slips: dict[int, SlipSeen] = {}
    topics: dict[int, str] = {0: FIRST}
    names: dict[int, str] = {}
    seen: list[Asked | Noted] = [*messages, *rows]
    for each in seen:
        done = next((place for place, (_, outcome) in enumerate(each.history) if outcome != "done"), len(each.history))
        names.update(enumerate(step for step, _ in each.history[:done]))
        if each.slip is None or each.slip.undoing or done < len(each.history):
            continue
        slips.setdefault(done, each.slip)
        if isinstance(each, Asked):
            topics[done] = each.topic
        topics.update(enumerate(each.slip.ahead, done + 1))
    if not slips:
        return PLANNED
    count = max(topics) + 1
    forward = tuple(topics.get(place) or PLANNED.topic_of(names.get(place, "")) for place in range(count))
    undos = tuple(_undo_of(place, forward[place], slips) for place in range(count))
    if forward == PLANNED.topics and undos == PLANNED.undos:
        return _PROVEN
    return Route(tuple(names.get(place) or name_on(topic) for place, topic in enumerate(forward)), forward, undos, True)


def _undo_of(place: int, topic: str, slips: Mapping[int, SlipSeen]) -> str | None:
    """The compensation of a step: what its success has added to the slip; by today's plan if that is not known."""
    before, after = (() if place == 0 else slips[place].back if place in slips else None), slips.get(place + 1)
    if before is not None and after is not None:
        return after.back[0] if len(after.back) > len(before) else None
    step = PLAN.on(topic)
    return step.undo if step else None
