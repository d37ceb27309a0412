"""Assigning partitions when a topic has more of them than it should."""

from typing import Any

from faust.assignor.partition_assignor import PartitionAssignor


class Assignor(PartitionAssignor):
    """Faust's assignor, for topics that somebody has given more partitions than `Transport.partitions`.

    Faust assigns topics together only if they have the same number of partitions, so the records of a saga would go to
    another worker than its row. Here partition p of every topic goes to one worker up to the agreed number, and a
    partition beyond it goes to the worker that has p modulo that number, which forwards its records.
    """

    _surplus: dict[str, list[int]]

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        agreed = AgreedPartitions(cluster, self._count)
        self._surplus = agreed.surplus
        return super()._perform_assignment(agreed, member_metadata)

    @property
    def _count(self) -> int | None:
        transport: Any = self.app.transport
        count: int | None = transport.partitions
        return count

    def _get_client_metadata(self, metadata: Any) -> Any:  # type: ignore[override]  # called on the instance only
        """What a worker had before, without the surplus: Faust expects the same partitions of all topics."""
        found = super()._get_client_metadata(metadata)
        count = self._count
        for topic, held in found.assignment.actives.items():
            found.assignment.actives[topic] = [each for each in held if count is None or each < count]
        return found

    def _global_table_standby_assignments(self, assignments: Any, partitions_by_topic: Any) -> Any:
        """The last step before the assignment is encoded: add the surplus. Nothing is written to that of changelogs."""
        count = self._count or 1
        for topic, surplus in self._surplus.items():
            if topic in self._table_manager.changelog_topics:
                continue
            for assignment in assignments.values():
                held = assignment.actives.get(topic, [])
                held += [each for each in surplus if each % count in held]
        return super()._global_table_standby_assignments(assignments, partitions_by_topic)


class AgreedPartitions:
    """A cluster's metadata, in which no topic has more than the agreed number of partitions (None: no agreement)."""

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
