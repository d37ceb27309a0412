"""Assigns partitions when a topic has more of them than the agreed number."""

from collections.abc import MutableMapping
from typing import Any

from saga_app.stream.upstream.faust import AssignorHooks


class Assignor(AssignorHooks):
    """Faust's assignor, for topics that were given more partitions than `Transport.partitions`.

    Faust assigns topics together only if they have the same number of partitions; otherwise the records of a key could
    go to another worker than its row. Here partition p of every topic goes to one worker, for p below the agreed
    number. A partition beyond it goes to the worker that has p modulo that number, which forwards its records.
    """

    _surplus: dict[str, list[int]]

    def visible_cluster(self, cluster: Any) -> Any:
        """The cluster without surplus partitions."""
        agreed = AgreedPartitions(cluster, self._count)
        self._surplus = agreed.surplus
        return agreed

    @property
    def _count(self) -> int | None:
        transport: Any = self.app.transport
        count: int | None = transport.partitions
        return count

    def adjust_previous(self, actives: MutableMapping[str, list[int]]) -> None:
        """Remove surplus partitions: Faust expects the same partitions of all topics."""
        count = self._count
        for topic, held in actives.items():
            actives[topic] = [each for each in held if count is None or each < count]

    def adjust_assignments(self, assignments: dict[str, Any]) -> None:
        """Add surplus partitions, except those of changelogs, which nothing writes."""
        count = self._count or 1
        for topic, surplus in self._surplus.items():
            if topic in self.changelog_topics:
                continue
            for assignment in assignments.values():
                held = assignment.actives.get(topic, [])
                held += [each for each in surplus if each % count in held]


class AgreedPartitions:
    """Wraps cluster metadata and hides partitions beyond the agreed number (None: hides nothing)."""

    def __init__(self, cluster: Any, count: int | None) -> None:
        self._cluster, self._count = cluster, count
        self.surplus: dict[str, list[int]] = {}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """The partitions that are assigned together; the others are added to `surplus`."""
        found: set[int] | None = self._cluster.partitions_for_topic(topic)
        if not found or self._count is None:
            return found
        if surplus := sorted(each for each in found if each >= self._count):
            self.surplus[topic] = surplus
        return {each for each in found if each < self._count}
