"""Notices that a topic was deleted and created again, by the id that the broker gives each topic (KIP-516).

Its offsets begin again at 0. Whoever goes on at an offset of the old one would pass over what the new one holds below.
"""

import asyncio
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

#: How long the broker may take to answer (seconds).
ANSWER_S = 3.0


class TopicIds:
    """`changed` compares with what it found before. `settings`: librdkafka's, for security."""

    def __init__(self, bootstrap: str, **settings: Any) -> None:
        self._settings = {"bootstrap.servers": bootstrap, "log_level": 0, **settings}
        self._ids: dict[str, str] = {}

    @cached_property
    def _admin(self) -> Any:
        return AdminClient(self._settings)

    async def changed(self, names: Iterable[str]) -> list[str]:
        """Those of these topics whose id is not the one that they had; a topic that is missing keeps its last one."""
        found = await asyncio.to_thread(self._ask, list(names))
        before, self._ids = self._ids, self._ids | found
        return [name for name, id in found.items() if before.get(name, id) != id]

    def _ask(self, names: list[str]) -> dict[str, str]:
        found = {}
        for name, described in self._admin.describe_topics(TopicCollection(names), request_timeout=ANSWER_S).items():
            try:
                found[name] = str(described.result().topic_id)
            except KafkaException:  # it is missing, or the broker is: others say so
                continue
        return found
