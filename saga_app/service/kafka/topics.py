"""The topics: names, partitions, configs; making sure that they exist before anything reads them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
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

#: The broker's clock, not the senders': what the trace shows is then comparable.
BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}

#: A dead letter holds its original byte for byte and a header more, and it is kept until somebody has dealt with it.
DEAD_LETTERS = BROKER_TIME | {"retention.ms": "-1", "max.message.bytes": "2097152"}

#: Compact only, never delete: it is the table. A row holds what the largest message holds, and more.
COMPACT = BROKER_TIME | {"cleanup.policy": "compact", "max.message.bytes": "2097152"}

#: Kafka's own topic of committed offsets: without it no group can work.
OFFSETS = "__consumer_offsets"

#: Name of each topic and its configs.
TOPICS: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(PLAN.topics, BROKER_TIME),
    SIGNALS: BROKER_TIME,
    DLQ: DEAD_LETTERS,
    ROWS_CHANGELOG: COMPACT,
    **dict.fromkeys(EFFECTS_CHANGELOGS.values(), COMPACT),
}


class WrongPartitions(WrongEnvironment):
    """A topic has another number of partitions than `SAGA_PARTITIONS` says; nothing may start on it."""


class TooFewPartitions(WrongPartitions):
    """A few topics have fewer partitions than the others: somebody has recreated them, and they may be corrected."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not there yet, for the person who waits for it."""

    reason: str


async def check(admin: AIOKafkaAdminClient, partitions: int) -> Missing | None:
    """None when every topic exists, has a leader everywhere, and enough partitions.

    Raises `WrongPartitions`.
    """
    have = set(await admin.list_topics())  # asking for an absent topic by name might create it
    if absent := [name for name in TOPICS if name not in have]:
        return Missing(f"topics are missing: {', '.join(absent)}")
    found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(list(TOPICS))}
    check_partitions({name: len(held) for name, held in found.items() if held}, partitions)
    leaderless = [name for name, held in found.items() if not held or any(p["leader"] < 0 for p in held)]
    return Missing(f"topics have no leader yet: {', '.join(leaderless)}") if leaderless else None


def check_partitions(counts: Mapping[str, int], partitions: int) -> None:
    """Raises `WrongPartitions` unless the topic with the fewest partitions has exactly so many, and
    `TooFewPartitions` where most topics have enough.

    More are possible in some topics: their records are forwarded (see stream/assignor.py).
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
    """Create what is missing; any number of services may race. Answers why the broker refused, or None."""
    have = set(await admin.list_topics())
    new = [
        NewTopic(name, partitions, replication, topic_configs=dict(configs))
        for name, configs in TOPICS.items()
        if name not in have
    ]
    if not new:
        return None
    response = await admin.create_topics(new)
    if created := topic_state.created(response):
        log.info("topics created", topics=created, partitions=partitions)
    return topic_state.refusal(response)


async def ensure(bootstrap: str, partitions: int, replication: int, embedded: bool = False) -> AsyncIterator[str]:
    """Wait for the broker and for the topics, making them if they are missing; yields why it still waits.

    Ends when all is there and can be written. Raises `WrongPartitions`. The embedded broker makes its topics itself.
    """
    delay = 0.1
    while reason := await _problem(bootstrap, partitions, replication, embedded):
        yield reason
        await asyncio.sleep(delay)
        delay = min(delay * 1.5, 2.0)


@asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for as long as it is needed. Raises KafkaError, OSError or TimeoutError."""
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
    """Why no record could be acknowledged, or None. Logs what else is wrong with the topics."""
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
    """The brokers that the first metadata name."""
    from saga_app.stream.upstream.aiokafka import network_client  # here, for `saga up` needs no Faust

    brokers = network_client(admin).cluster.brokers()
    return [(each.host, each.port) for each in brokers if not str(each.nodeId).startswith("bootstrap")]
