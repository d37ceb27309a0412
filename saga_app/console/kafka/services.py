"""Polls the state of the services: readiness, number of workers, consumer lag."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from saga_app.console.kafka.close_client import close_clients
from saga_app.console.kafka.ends import Ends
from saga_app.console.kafka.source import Stale, Waiting, cluster_of
from saga_app.active_plan import READS, SERVICES, TOPICS
from saga_app.service.kafka import topics
from saga_app.stream.topic_ids import Cluster, TopicIds
from saga_app.stream.upstream.aiokafka import network_client, pause_after_failed_metadata_update

log = structlog.get_logger()

#: Interval and timeout of a poll (seconds).
POLL_INTERVAL_S, POLL_TIMEOUT_S = 2.0, 5.0

#: Topics that are consumed by the services.
CONSUMED = [topic for read in READS.values() for topic in read]


class Services:
    """Polls the services; `shown` is the latest state by service.

    `urls`: base URLs of the services on this machine. `on_poll` is called at each poll with the id of the cluster and a
    problem of its topics: `Waiting` if some are missing, `Stale` if some were recreated, else None. It returns whether
    the reader has received the problem.
    """

    def __init__(
        self,
        bootstrap: str,
        partitions: int,
        embedded: bool,
        urls: dict[str, str],
        on_poll: Callable[[str, Waiting | Stale | None], bool],
    ) -> None:
        self.bootstrap, self.partitions, self.embedded = bootstrap, partitions, embedded
        self.urls, self.on_poll = urls, on_poll
        self._ids, self._changed = TopicIds(bootstrap), set[str]()
        self.broker_up = False
        self.shown: dict[str, dict[str, Any]] = {service: _unknown("not polled yet") for service in SERVICES}

    async def run(self) -> None:
        """Poll until the task is cancelled."""
        while True:
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError) as error:
                self._unknown(f"the broker is unavailable: {type(error).__name__}")
            except Exception as error:
                log.exception("polling the services failed", error=type(error).__name__)
                self._unknown("the state could not be determined")
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _session(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=int(POLL_TIMEOUT_S * 1000))
        ends = Ends(self.bootstrap)
        pause_after_failed_metadata_update(network_client(admin))
        try:
            await admin.start()
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1.0)) as http:
                while True:
                    async with asyncio.timeout(POLL_TIMEOUT_S):
                        await self._poll(admin, ends, http)
                    await asyncio.sleep(POLL_INTERVAL_S)
        finally:
            await close_clients(ends.close(), admin.close())

    async def _poll(self, admin: AIOKafkaAdminClient, ends: Ends, http: aiohttp.ClientSession) -> None:
        cluster = await self._ids.cluster()
        waiting = self._incomplete(cluster)
        self.broker_up = True
        if waiting is not None:
            self.on_poll(cluster.id, waiting)
            return self._all(str(waiting))
        await ends.open()
        stale = await ends.refresh([TopicPartition(topic, p) for topic in CONSUMED for p in range(self.partitions)])
        if self.on_poll(cluster.id, stale or await self._replaced()):
            self._changed.clear()
        for service in SERVICES:
            workers = None if self.embedded else await _workers(admin, service)  # the embedded broker cannot describe groups
            places = [TopicPartition(topic, p) for topic in READS[service] for p in range(self.partitions)]
            lag = await _lag(admin, ends.readable, service, places)
            reason = await self._not_ready_reason(http, service) if workers is None else None
            count = int(reason is None) if workers is None else workers
            if workers == 0:
                reason = "its consumer group has no members"
            reason = reason or ends.blocked_by_transaction(places)
            self.shown[service] = {"up": count > 0, "workers": count, "lag": lag, "reason": reason}

    async def _replaced(self) -> Stale | None:
        """`Stale` if topics were recreated since the last poll, else None; this cannot happen on the embedded broker."""
        if not self.embedded:
            self._changed |= set(await self._ids.find_changed(TOPICS))
        return Stale(f"created again: {', '.join(sorted(self._changed))}") if self._changed else None

    def _incomplete(self, cluster: Cluster) -> Waiting | None:
        """`Waiting` if topics are missing or have another number of partitions, else None."""
        try:
            missing = topics.problem_of(cluster.leaders, self.partitions)
        except topics.WrongPartitions as error:
            return Waiting(str(error))
        return Waiting(missing.reason) if missing else None

    def _unknown(self, reason: str) -> None:
        self.broker_up = False
        self._all(reason)

    def _all(self, reason: str) -> None:
        self.shown = {service: _unknown(reason) for service in SERVICES}

    async def _not_ready_reason(self, http: aiohttp.ClientSession, service: str) -> str | None:
        """Why the worker of this service on this machine is not ready, or None."""
        try:
            async with http.get(f"{self.urls[service]}/health/ready") as answer:
                if answer.status == 200:
                    return None
                return str((await answer.json(content_type=None)).get("reason", f"status {answer.status}"))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return "it does not respond"


def _unknown(reason: str) -> dict[str, Any]:
    """A service of which nothing is known."""
    return {"up": False, "workers": None, "lag": None, "reason": reason}


async def _workers(admin: AIOKafkaAdminClient, group: str) -> int:
    """Members of a group. One by one: of more than one in an answer aiokafka can read only the first.

    Not with librdkafka, which crashes the process if the broker disconnects during the call (its issues 3663, 4605).
    """
    (answer,) = await admin.describe_consumer_groups([group])
    error, *_, members = answer.groups[0]
    if error:
        raise for_code(error)(f"the group {group} cannot be described")
    return len(members)


async def _lag(
    admin: AIOKafkaAdminClient, ends: Mapping[TopicPartition, int], group: str, places: list[TopicPartition]
) -> int | None:
    """Consumer lag of a group up to the last stable offsets; 0 if all topics are empty."""
    committed = await admin.list_consumer_group_offsets(group, partitions=places)
    end = {place: ends[place] for place in places}
    done = {place: max(0, found.offset) for place, found in committed.items()}
    if all(found.offset < 0 for found in committed.values()) and not any(end.values()):
        return 0
    behind: int = sum(max(0, end[place] - done.get(place, 0)) for place in places)
    return behind
