"""The only place that builds a faust.App: the settings that experience with Faust has left us.

Each reason is short here; what was seen is in docs/decisions/.
"""

import gc
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, cast

import faust
import structlog
from faust.app.base import BootStrategy
from mode import Service
from yarl import URL

from saga_app.addresses import advertised_url
from saga_app.environment import WrongEnvironment, stop
from saga_app.service import log, metrics
from saga_app.service.dead_letters import Refusals
from saga_app.service.kafka import topics
from saga_app.service.kafka.kafka_changes import CHECK_S, TopicWatch, claim_tables
from saga_app.service.worker import Worker
from saga_app.settings import Settings
from saga_app.stream import Assignor, Transport, embedded, log_throttle
from saga_app.stream.consume.fetcher import Loss

logger = structlog.get_logger()

#: No rebalance because of slow steps: the watchdog looks after a loop that stands still.
A_YEAR_S = 365 * 24 * 3600.0

#: Records taken and not finished, in one worker.
MAX_INFLIGHT = 100_000


class BrokerGate(Service):
    """Starts before everything that talks to Kafka: waits for the broker and the topics, and says why it waits."""

    def __init__(self, app: "App", **kwargs: Any) -> None:
        self.app = app
        self.waits_for: str | None = "starting"
        settings = app.settings
        self.bootstrap = bootstrap_of(settings)
        self.topics = TopicWatch(
            self.bootstrap, settings.partitions, settings.replication, settings.embedded, self._start_over
        )
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        """Returns when the topics are there; a wrong partition count ends the process with one line."""
        settings, said = self.app.settings, None
        try:
            async for reason in topics.ensure(
                self.bootstrap, settings.partitions, settings.replication, embedded=settings.embedded
            ):
                self.waits_for = reason
                if reason != said:
                    logger.warning("waiting", reason=reason)
                said = reason
        except WrongEnvironment as error:
            stop(error)
        await claim_tables(self.app, self.bootstrap)
        await self.topics.check()
        self.waits_for = None

    async def _start_over(self, topics: Collection[str]) -> bool:
        return await cast(Any, self.app.consumer).start_over(topics)  # type: ignore[no-any-return]

    @Service.task
    async def _watch(self) -> None:
        """Topics may be deleted while the service runs."""
        while not self.should_stop:
            await self.sleep(CHECK_S)
            await self.topics.check()


class Boot(BootStrategy):
    """The web server first, so that it can say what the service waits for; then the gate; then Kafka."""

    def server(self) -> Iterable[Any]:
        """Services in the order of their start."""
        kafka = [self.kafka_producer(), self.kafka_consumer(), self.agents(), self.kafka_conductor(), self.tables()]
        return chain(self.sensors(), self.web_server(), [cast("App", self.app).gate], *kafka)


class App(faust.App):
    """A service: a Faust app that waits for its broker, reads in batches, and is watched over."""

    BootStrategy = Boot
    settings: Settings
    gate: BrokerGate
    #: What else has to be ready: each says why it is not, or None.
    checks: tuple[Callable[[], str | None], ...] = ()
    #: What has to be right before anything starts: each raises `WrongEnvironment` if it is not.
    before_start: tuple[Callable[[], None], ...] = ()
    #: What becomes of records whose output the broker refused.
    refusals: Refusals
    #: What is to be closed at the end.
    closing: list[Callable[[], Awaitable[None]]]

    async def on_started(self) -> None:
        """Recovered and assigned."""
        await super().on_started()
        spare_the_collector()
        structlog.get_logger("saga_app").info("ready", web=str(self.conf.canonical_url))

    async def on_shutdown(self) -> None:
        """Everything has stopped."""
        for close in self.closing:
            await close()
        await super().on_shutdown()


def count_loss(loss: Loss) -> None:
    """Records were deleted before they were read; the log names them."""
    metrics.LOSSES.labels(loss.tp.topic).inc()
    metrics.LOST.labels(loss.tp.topic).inc((loss.end or loss.first) - loss.first)


def spare_the_collector() -> None:
    """What is here now stays, and what comes is freed by its count of references: a round of the collector seldom
    finds anything, but looks at all that belongs to ten thousand records in flight.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)


def bootstrap_of(settings: Settings) -> str:
    """`host:port,…` for clients other than Faust."""
    return ",".join(part.removeprefix("kafka://") for part in settings.broker.replace(";", ",").split(","))


def build(name: str, settings: Settings, web_port: int) -> App:
    """The app of a service: its name is the consumer group, the changelog's prefix and the unit of scaling."""
    values: dict[str, Any] = {
        "broker": settings.broker.replace(",", ";"),
        "store": settings.store,
        "datadir": Path(settings.datadir) / f"{name}-{settings.instance or 'worker'}",
        "Worker": Worker,
        "PartitionAssignor": Assignor,
        "autodiscover": False,  # it swallows import errors
        "logging_config": log.config(name, settings.log, settings.log_level),
        "web_bind": settings.bind,
        "web_port": web_port,
        "canonical_url": URL(advertised_url(settings.bind, settings.advertise, web_port)),
        "web_tables_enabled": False,  # Faust's own pages show personal data to anyone
        "web_router_enabled": False,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": settings.partitions,
        "table_standby_replicas": 0,
        "broker_session_timeout": 10.0,
        "broker_heartbeat_interval": 2.0,
        "broker_request_timeout": 30.0,
        "broker_rebalance_timeout": 60.0,
        "broker_max_poll_interval": A_YEAR_S,
        "broker_max_poll_records": 1000,
        "broker_commit_interval": 1.0,
        "consumer_metadata_max_age_ms": 5000,
        "consumer_group_instance_id": f"{name}-{settings.instance}" if settings.instance else None,
        "producer_acks": -1,
        "producer_request_timeout": 20.0,
        "stream_wait_empty": True,
    }
    if settings.embedded:
        values |= embedded.SETTINGS
    app = App(name, **values)
    app.settings = settings
    app.gate = BrokerGate(app, beacon=app.beacon)
    app.closing = []
    app.refusals = Refusals()
    app.checks = (lambda: app.refusals.problem, lambda: app.gate.topics.problem)
    Transport.install(app, max_inflight=MAX_INFLIGHT, partitions=settings.partitions).on_loss = count_loss
    if settings.embedded:
        embedded.adapt(app)
    log_throttle.install()
    return app
