"""Asks a cluster for its topics, through librdkafka, which decodes the answers in C: services ask every few seconds.

A topic that was deleted and recreated is detected by the id that the broker gives each topic (KIP-516). The offsets of
the new topic start at 0 again. A consumer that continues at an offset of the old one would skip the records of the new
one below it.
"""

import asyncio
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

#: How long the broker may take to answer (seconds).
REQUEST_TIMEOUT_S = 3.0


class Cluster(NamedTuple):
    """A cluster. `leaders`: for each topic, the ids of the brokers that lead its partitions; -1: no leader."""

    id: str
    leaders: dict[str, list[int]]


class TopicIds:
    """Remembers the id of each topic. `settings`: further settings of librdkafka, for security."""

    def __init__(self, bootstrap: str, **settings: Any) -> None:
        self._settings = {"bootstrap.servers": bootstrap, "log_level": 0, **settings}
        self._ids: dict[str, str] = {}

    @cached_property
    def _admin(self) -> Any:
        return AdminClient(self._settings)

    async def cluster(self) -> Cluster:
        """The cluster and all of its topics. Raises `ConnectionError` if no broker answers."""
        try:
            found = await asyncio.to_thread(self._admin.list_topics, timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise ConnectionError(f"no broker has described its topics: {error.args[0].str()}") from None
        leaders = {name: [p.leader for p in topic.partitions.values()] for name, topic in found.topics.items()}
        return Cluster(found.cluster_id or "", leaders)

    async def find_changed(self, names: Iterable[str]) -> list[str]:
        """Those of these topics whose id differs from the remembered one; a missing topic keeps its last id."""
        found = await asyncio.to_thread(self._describe, list(names))
        before, self._ids = self._ids, self._ids | found
        return [name for name, id in found.items() if before.get(name, id) != id]

    def _describe(self, names: list[str]) -> dict[str, str]:
        found = {}
        topics = self._admin.describe_topics(TopicCollection(names), request_timeout=REQUEST_TIMEOUT_S)
        for name, described in topics.items():
            try:
                found[name] = str(described.result().topic_id)
            except KafkaException:  # the topic is missing, or the broker is away: other checks report both
                continue
        return found
