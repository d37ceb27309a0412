"""Detects that the cluster or its topics were replaced, while a service runs or between two runs."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from saga_app.service.kafka import topics
from saga_app.stream.table.origin import Origin, claim
from saga_app.stream.topic_ids import TopicIds

log = structlog.get_logger()

#: Called with the names of recreated topics. Returns whether it succeeded; otherwise it is called again.
StartOver = Callable[[Collection[str]], Awaitable[bool]]

#: Time between two checks of the topics, and between two attempts to reach a broker (seconds).
CHECK_INTERVAL_S, RETRY_INTERVAL_S = 5.0, 1.0


async def claim_tables(app: Any, bootstrap: str) -> None:
    """Set aside local tables that belong to another cluster or to a deleted changelog. Call it before they are opened."""
    if app.conf.store.scheme != "rocksdb" or not app.tables:
        return
    changelogs = [str(table.changelog_topic_name) for table in app.tables.values()]
    origin = await _origin(bootstrap, changelogs, app.transport.librdkafka)
    moved = await asyncio.to_thread(claim, app.conf.tabledir, origin)
    if moved is not None:
        reason, path = moved
        log.warning("local tables set aside, rebuilding from Kafka", reason=reason, tables=str(path))


async def _origin(bootstrap: str, changelogs: list[str], security: Mapping[str, Any]) -> Origin:
    """The ids of cluster and changelogs. Repeats the request until the broker answers."""
    while True:
        try:
            return await asyncio.to_thread(partial(Origin.ask, bootstrap, changelogs, **security))
        except KafkaException as error:
            log.warning("could not describe topics", topics=changelogs, error=str(error.args[0]))
            await asyncio.sleep(RETRY_INTERVAL_S)


class TopicWatch:
    """Detects topics that were deleted or recreated while the service runs.

    Missing topics are created again. `start_over` is called with the names of recreated topics. `problem`: why the topics
    cannot be used, or None; for a wrong number of partitions it stays set until an operator corrects it.
    """

    def __init__(
        self, bootstrap: str, partitions: int, replication: int, embedded: bool, start_over: StartOver | None = None
    ) -> None:
        self.bootstrap, self.partitions, self.replication = bootstrap, partitions, replication
        self.embedded, self._start_over = embedded, start_over
        self._ids, self._replaced = TopicIds(bootstrap), set[str]()
        self.problem: str | None = None
        self.existing: set[str] = set()  #: all topics of the cluster at the last check

    async def check(self) -> None:
        """Check the topics once. An unavailable broker is ignored here, because readiness reports it."""
        try:
            problem = await self._find_problem()
        except topics.WrongPartitions as error:
            problem = str(error)
        except (KafkaError, OSError, TimeoutError):
            return
        if problem != self.problem:
            report = log.error if problem else log.info
            report("topics unusable" if problem else "topics usable again", reason=problem)
        self.problem = problem
        await self.check_for_recreated_topics()

    async def check_for_recreated_topics(self) -> None:
        """Start over in topics that were recreated since the last check. The embedded broker does not recreate any."""
        if self._start_over is None or self.embedded:
            return
        self._replaced |= set(await self._ids.find_changed(topics.TOPICS))
        try:
            is_done = bool(self._replaced) and await self._start_over(self._replaced)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("could not restart from the beginning of recreated topics", error=repr(error))
            return
        if is_done:
            log.warning(
                "topics were recreated, reading from their beginning", topics=sorted(self._replaced)
            )
            self._replaced.clear()

    async def _find_problem(self) -> str | None:
        leaders = (await self._ids.cluster()).leaders
        self.existing.intersection_update(leaders)
        self.existing.update(leaders)
        missing = topics.problem_of(leaders, self.partitions)
        if missing is None:
            return None
        if not self.embedded:
            async with topics.admin_of(self.bootstrap) as admin:
                await topics.create(admin, self.partitions, self.replication)
        return f"{missing.reason}: they were deleted while the service was running, and are created again"
