"""The topics: names, partitions and configs; creates and checks them before the services start."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from saga_app.active_plan import EFFECTS_CHANGELOGS, PLAN, ROWS_CHANGELOG
from saga_app.environment import WrongEnvironment
from saga_app.saga.messages import DLQ, SIGNALS
from saga_app.service.kafka import reachability, topic_state

log = structlog.get_logger()

#: Timestamps are set by the broker's clock, so that the times of one saga are comparable.
BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}

#: A dead letter is larger than its original, by the header with the reason, and is kept without limit.
DEAD_LETTERS = BROKER_TIME | {"retention.ms": "-1", "max.message.bytes": "2097152"}

#: Changelogs are compacted only, because they are the durable tables. A row is larger than the largest message.
COMPACT = BROKER_TIME | {"cleanup.policy": "compact", "max.message.bytes": "2097152"}

#: Kafka's topic of committed offsets, without which no consumer group works.
OFFSETS = "__consumer_offsets"

#: The configs of each topic, by name.
TOPICS: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(PLAN.topics, BROKER_TIME),
    SIGNALS: BROKER_TIME,
    DLQ: DEAD_LETTERS,
    ROWS_CHANGELOG: COMPACT,
    **dict.fromkeys(EFFECTS_CHANGELOGS.values(), COMPACT),
}


class WrongPartitions(WrongEnvironment):
    """The number of partitions differs from `SAGA_PARTITIONS`; the service must not start."""


class TooFewPartitions(WrongPartitions):
    """Fewer than half of the topics have too few partitions: they were recreated, and an operator can correct them."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Topics or leaders are missing; `reason` names them."""

    reason: str


async def check(admin: AIOKafkaAdminClient, partitions: int) -> Missing | None:
    """Ask for the topics, and check them: see `problem_of`."""
    have = set(await admin.list_topics())  # a request for a missing topic by name might create it
    wanted = [name for name in TOPICS if name in have]
    described = await admin.describe_topics(wanted) if wanted else []
    return problem_of({topic["topic"]: [p["leader"] for p in topic["partitions"]] for topic in described}, partitions)


def problem_of(leaders: Mapping[str, Sequence[int]], partitions: int) -> Missing | None:
    """Check that every topic exists and has leaders and enough partitions. Returns None if so.

    `leaders`: for each topic, the ids of the brokers that lead its partitions, -1 if there is none. Raises
    `WrongPartitions`.
    """
    if absent := [name for name in TOPICS if name not in leaders]:
        return Missing(f"topics are missing: {', '.join(absent)}")
    found = {name: leaders[name] for name in TOPICS}
    check_partitions({name: len(held) for name, held in found.items() if held}, partitions)
    leaderless = [name for name, held in found.items() if not held or min(held) < 0]
    return Missing(f"topics have no leader yet: {', '.join(leaderless)}") if leaderless else None


def check_partitions(counts: Mapping[str, int], partitions: int) -> None:
    """Check the number of partitions of each topic against `partitions`.

    Single topics may have more partitions: their records are forwarded (see stream/assignor.py). Raises
    `TooFewPartitions` if fewer than half of the topics have too few, and `WrongPartitions` in other cases.
    """
    fewest = min(counts, key=counts.__getitem__, default=None)
    if fewest is None or counts[fewest] == partitions:
        return
    count = counts[fewest]
    grow = (
        f"; for {partitions} grow all topics: saga topics grow --partitions {partitions}" if count < partitions else ""
    )
    short = sum(held < partitions for held in counts.values())
    wrong = TooFewPartitions if 0 < short < len(counts) / 2 else WrongPartitions
    raise wrong(
        f"topic {fewest} has {count} partitions, SAGA_PARTITIONS is {partitions}: "
        f"set SAGA_PARTITIONS={count} for all services{grow}"
    )


async def create(admin: AIOKafkaAdminClient, partitions: int, replication: int) -> str | None:
    """Create missing topics. Several services may do so concurrently. Returns why the broker refused, or None."""
    have = set(await admin.list_topics())
    new = [
        NewTopic(name, partitions, replication, topic_configs=dict(configs))
        for name, configs in TOPICS.items()
        if name not in have
    ]
    if not new:
        return None
    response = await admin.create_topics(new)
    if created := topic_state.created_topics(response):
        log.info("topics created", topics=created, partitions=partitions)
    return topic_state.refusal(response)


async def ensure(bootstrap: str, partitions: int, replication: int, embedded: bool = False) -> AsyncIterator[str]:
    """Wait until the topics exist and can be written, creating missing ones; yields the reason for each wait.

    The embedded broker creates its topics itself. Raises `WrongPartitions`.
    """
    delay = 0.1
    while reason := await _problem(bootstrap, partitions, replication, embedded):
        yield reason
        await asyncio.sleep(delay)
        delay = min(delay * 1.5, 2.0)


@asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, closed on exit. Raises `KafkaError`, `OSError` or `TimeoutError`."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _problem(bootstrap: str, partitions: int, replication: int, embedded: bool) -> str | None:
    """Why a service cannot start on this cluster yet, or None."""
    advertised: list[reachability.Address] = []
    try:
        async with admin_of(bootstrap) as admin:
            advertised += _advertised(admin)
            refusal = None if embedded else await create(admin, partitions, replication)
            if missing := await check(admin, partitions):
                return refusal or missing.reason
            return None if embedded else await _unwritable(admin)
    except TooFewPartitions as error:
        return str(error)
    except (KafkaError, OSError, TimeoutError) as error:
        return await reachability.explain(_addresses(bootstrap), advertised, error)


async def _unwritable(admin: AIOKafkaAdminClient) -> str | None:
    """Why no record could be acknowledged, or None. Logs deviating topic configurations."""
    names = [*TOPICS, *({OFFSETS} & set(await admin.list_topics()))]
    held = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(names)}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = topic_state.configs(await admin.describe_configs(asked))
    reason = topic_state.unwritable(held, configs)
    if reason is None:
        for line in (*topic_state.surplus(TOPICS, held), *topic_state.wrong_cleanup(TOPICS, configs)):
            log.warning("wrong topic configuration", problem=line)
    return reason


def _addresses(bootstrap: str) -> list[reachability.Address]:
    urls = [urlsplit(f"//{part}") for part in bootstrap.split(",")]
    return [(url.hostname or "", url.port or 9092) for url in urls]


def _advertised(admin: AIOKafkaAdminClient) -> list[reachability.Address]:
    """The addresses of the brokers in the cluster's metadata."""
    from saga_app.stream.upstream.aiokafka import network_client  # imported here, because `saga up` does not need Faust

    brokers = network_client(admin).cluster.brokers()
    return [(each.host, each.port) for each in brokers if not str(each.nodeId).startswith("bootstrap")]
