"""How the services are: whether they answer, how many workers each has, how far each is behind."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from saga_app.console.kafka.close_client import ended
from saga_app.console.kafka.ends import Ends
from saga_app.console.kafka.source import Stale, Waiting, cluster_of
from saga_app.active_plan import READS, SERVICES, TOPICS
from saga_app.service.kafka import topics
from saga_app.stream.topic_ids import TopicIds
from saga_app.stream.upstream.aiokafka import network_client, pause_after_failed_metadata_update

log = structlog.get_logger()

#: Time between two looks, and how long one may take (seconds).
EVERY_S, MOST_S = 2.0, 5.0

#: The topics that any consumer group reads.
CONSUMED = [topic for read in READS.values() for topic in read]


class Services:
    """`run` looks every two seconds; `shown` is what was seen last.

    `urls`: where the services of this machine answer. `seen` is called at each look with the cluster's id, and with
    what is wrong with its topics, if anything is: `Waiting` until they are there again, or `Stale` if they are others.
    It answers whether the reader has been told.
    """

    def __init__(
        self,
        bootstrap: str,
        partitions: int,
        embedded: bool,
        urls: dict[str, str],
        seen: Callable[[str, Waiting | Stale | None], bool],
    ) -> None:
        self.bootstrap, self.partitions, self.embedded = bootstrap, partitions, embedded
        self.urls, self.seen = urls, seen
        self._ids, self._changed = TopicIds(bootstrap), set[str]()
        self.broker_up = False
        self.shown: dict[str, dict[str, Any]] = {service: _unknown("not asked yet") for service in SERVICES}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError) as error:
                self._unknown(f"the broker is away: {type(error).__name__}")
            except Exception as error:
                log.exception("no figures of the services", error=type(error).__name__)
                self._unknown("the broker cannot be asked for it")
            await asyncio.sleep(EVERY_S)

    async def _session(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=int(MOST_S * 1000))
        ends = Ends(self.bootstrap)
        pause_after_failed_metadata_update(network_client(admin))
        try:
            await admin.start()
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1.0)) as http:
                while True:
                    async with asyncio.timeout(MOST_S):
                        await self._look(admin, ends, http)
                    await asyncio.sleep(EVERY_S)
        finally:
            await ended(ends.close(), admin.close())

    async def _look(self, admin: AIOKafkaAdminClient, ends: Ends, http: aiohttp.ClientSession) -> None:
        cluster, waiting = await cluster_of(admin), await self._incomplete(admin)
        self.broker_up = True
        if waiting is not None:
            self.seen(cluster, waiting)
            return self._all(str(waiting))
        await ends.open()
        stale = await ends.look([TopicPartition(topic, p) for topic in CONSUMED for p in range(self.partitions)])
        if self.seen(cluster, stale or await self._replaced()):
            self._changed.clear()
        for service in SERVICES:
            workers = None if self.embedded else await _workers(admin, service)  # that broker cannot be asked for them
            places = [TopicPartition(topic, p) for topic in READS[service] for p in range(self.partitions)]
            lag = await _lag(admin, ends.readable, service, places)
            reason = await self._answers(http, service) if workers is None else None
            count = int(reason is None) if workers is None else workers
            if workers == 0:
                reason = "no worker is in its group"
            reason = reason or ends.held(places)
            self.shown[service] = {"up": count > 0, "workers": count, "lag": lag, "reason": reason}

    async def _replaced(self) -> Stale | None:
        """Topics that were deleted and created again since the last look; the embedded broker's never are."""
        if not self.embedded:
            self._changed |= set(await self._ids.changed(TOPICS))
        return Stale(f"created again: {', '.join(sorted(self._changed))}") if self._changed else None

    async def _incomplete(self, admin: AIOKafkaAdminClient) -> Waiting | None:
        """Topics that are missing, or have another number of partitions."""
        try:
            missing = await topics.check(admin, self.partitions)
        except topics.WrongPartitions as error:
            return Waiting(str(error))
        return Waiting(missing.reason) if missing else None

    def _unknown(self, reason: str) -> None:
        self.broker_up = False
        self._all(reason)

    def _all(self, reason: str) -> None:
        self.shown = {service: _unknown(reason) for service in SERVICES}

    async def _answers(self, http: aiohttp.ClientSession, service: str) -> str | None:
        """None if the worker of this service on this machine is ready, else why not."""
        try:
            async with http.get(f"{self.urls[service]}/health/ready") as answer:
                if answer.status == 200:
                    return None
                return str((await answer.json(content_type=None)).get("reason", f"it answers {answer.status}"))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return "it does not answer"


def _unknown(reason: str) -> dict[str, Any]:
    """A service of which nothing is known."""
    return {"up": False, "workers": None, "lag": None, "reason": reason}


async def _workers(admin: AIOKafkaAdminClient, group: str) -> int:
    """Members of a group. One by one: of more than one in an answer aiokafka can read only the first.

    Not by librdkafka, which ends the process when the broker goes away meanwhile (its issues 3663 and 4605).
    """
    (answer,) = await admin.describe_consumer_groups([group])
    error, *_, members = answer.groups[0]
    if error:
        raise for_code(error)(f"the group {group} cannot be described")
    return len(members)


async def _lag(
    admin: AIOKafkaAdminClient, ends: Mapping[TopicPartition, int], group: str, places: list[TopicPartition]
) -> int | None:
    """Records that the group could read and has not committed yet; None before it has committed anything."""
    committed = await admin.list_consumer_group_offsets(group, partitions=places)
    end = {place: ends[place] for place in places}
    done = {place: max(0, found.offset) for place, found in committed.items()}
    if all(found.offset < 0 for found in committed.values()) and not any(end.values()):
        return 0
    behind: int = sum(max(0, end[place] - done.get(place, 0)) for place in places)
    return behind
