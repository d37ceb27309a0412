"""What may be exchanged under a running service, or between two runs of it: the cluster, and its topics."""

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

#: Is called with names of topics; whether it could be done now, or has to be tried again.
StartOver = Callable[[Collection[str]], Awaitable[bool]]

#: Time between two checks of the topics, and between two questions to a broker that does not answer (seconds).
CHECK_S, AGAIN_S = 5.0, 1.0


async def claim_tables(app: Any, bootstrap: str) -> None:
    """Before the tables are opened: those on disk that were written for another cluster, or for a changelog that was
    deleted, are set aside."""
    if app.conf.store.scheme != "rocksdb" or not app.tables:
        return
    changelogs = [str(table.changelog_topic_name) for table in app.tables.values()]
    origin = await _origin(bootstrap, changelogs, app.transport.librdkafka)
    moved = await asyncio.to_thread(claim, app.conf.tabledir, origin)
    if moved is not None:
        reason, path = moved
        log.warning("tables set aside, they are rebuilt from Kafka", reason=reason, tables=str(path))


async def _origin(bootstrap: str, changelogs: list[str], security: Mapping[str, Any]) -> Origin:
    """Asked for until the broker answers: it has just done so."""
    while True:
        try:
            return await asyncio.to_thread(partial(Origin.ask, bootstrap, changelogs, **security))
        except KafkaException as error:
            log.warning("the broker does not describe its topics", topics=changelogs, error=str(error.args[0]))
            await asyncio.sleep(AGAIN_S)


class TopicWatch:
    """Notices topics that were deleted, or recreated with another number of partitions, while the service runs.

    `problem` says so, or is None. Missing topics are created again, as at the start; with another number of partitions
    nothing can be done but to wait. `start_over` is called with the names of topics that were created again.
    """

    def __init__(
        self, bootstrap: str, partitions: int, replication: int, embedded: bool, start_over: StartOver | None = None
    ) -> None:
        self.bootstrap, self.partitions, self.replication = bootstrap, partitions, replication
        self.embedded, self._start_over = embedded, start_over
        self._ids, self._replaced = TopicIds(bootstrap), set[str]()
        self.problem: str | None = None
        self.existing: set[str] = set()  #: all topics of the cluster, as of the last look

    async def check(self) -> None:
        """One look; a broker that does not answer is somebody else's problem."""
        try:
            problem = await self._look()
        except topics.WrongPartitions as error:
            problem = str(error)
        except (KafkaError, OSError, TimeoutError):
            return
        if problem != self.problem:
            report = log.error if problem else log.info
            report("topics are not as they must be" if problem else "topics are complete again", reason=problem)
        self.problem = problem
        await self.look_for_new_ids()

    async def look_for_new_ids(self) -> None:
        """Start over in topics that were created again since the last look; the embedded broker's never are."""
        if self._start_over is None or self.embedded:
            return
        self._replaced |= set(await self._ids.changed(topics.TOPICS))
        try:
            is_done = bool(self._replaced) and await self._start_over(self._replaced)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("a replaced topic cannot be read from its beginning yet", error=repr(error))
            return
        if is_done:
            log.warning(
                "topics were deleted and created again: read from their beginning", topics=sorted(self._replaced)
            )
            self._replaced.clear()

    async def _look(self) -> str | None:
        async with topics.admin_of(self.bootstrap) as admin:
            found = set(await admin.list_topics())
            self.existing.intersection_update(found)
            self.existing.update(found)
            missing = await topics.check(admin, self.partitions)
            if missing and not self.embedded:
                await topics.create(admin, self.partitions, self.replication)
        return f"{missing.reason}: deleted while this service ran, they are created again" if missing else None
