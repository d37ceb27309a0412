"""Builds the Faust app of a service. This is the only place that creates a `faust.App`.

Comments give short reasons for unusual settings; docs/decisions/ has the details.
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
from saga_app.service.kafka.kafka_changes import CHECK_INTERVAL_S, TopicWatch, claim_tables
from saga_app.service.worker import Worker
from saga_app.settings import Settings
from saga_app.stream import Assignor, Transport, embedded, log_throttle
from saga_app.stream.consume.fetcher import Loss

logger = structlog.get_logger()

#: Slow steps must not cause a rebalance; the watchdog detects a blocked event loop instead (seconds).
MAX_POLL_INTERVAL_S = 365 * 24 * 3600.0

#: The maximum number of unfinished records per worker. Above it, the worker stops fetching (backpressure).
MAX_INFLIGHT = 100_000


class BrokerGate(Service):
    """Delays the start of the Kafka clients until the broker and the topics are ready.

    `waits_for`: the reason for waiting, or None when the clients may start. From then on, changes of the topics are
    watched.
    """

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
        """Wait until the topics exist. A wrong partition count ends the process with one line."""
        settings, logged = self.app.settings, None
        try:
            async for reason in topics.ensure(
                self.bootstrap, settings.partitions, settings.replication, embedded=settings.embedded
            ):
                self.waits_for = reason
                if reason != logged:
                    logger.warning("waiting", reason=reason)
                logged = reason
        except WrongEnvironment as error:
            stop(error)
        await claim_tables(self.app, self.bootstrap)
        await self.topics.check()
        self.waits_for = None

    async def _start_over(self, topics: Collection[str]) -> bool:
        return await cast(Any, self.app.consumer).start_over(topics)  # type: ignore[no-any-return]

    @Service.task
    async def _watch(self) -> None:
        """Check periodically, because topics may be deleted while the service runs."""
        while not self.should_stop:
            await self.sleep(CHECK_INTERVAL_S)
            await self.topics.check()


class Boot(BootStrategy):
    """Start order: the web server, so that it can report what the service waits for; then the gate; then Kafka."""

    def server(self) -> Iterable[Any]:
        """The Faust services in start order."""
        kafka = [self.kafka_producer(), self.kafka_consumer(), self.agents(), self.kafka_conductor(), self.tables()]
        return chain(self.sensors(), self.web_server(), [cast("App", self.app).gate], *kafka)


class App(faust.App):
    """The Faust app of a service, with its settings, its start-up gate and its readiness checks."""

    BootStrategy = Boot
    settings: Settings
    gate: BrokerGate
    #: Additional readiness checks. Each returns the reason why the service is not ready, or None.
    checks: tuple[Callable[[], str | None], ...] = ()
    #: Checks of the environment before the start. Each raises `WrongEnvironment` if it fails.
    before_start: tuple[Callable[[], None], ...] = ()
    #: Handles outputs that the broker refused.
    refusals: Refusals
    #: Called when all services have stopped.
    close_hooks: list[Callable[[], Awaitable[None]]]

    async def on_start(self) -> None:
        """Called by Faust before anything else; a recovery, too, profits from few garbage collections."""
        run_garbage_collection_rarely()
        await super().on_start()

    async def on_started(self) -> None:
        """Called by Faust when partitions are assigned and tables are recovered."""
        await super().on_started()
        exempt_from_garbage_collection()
        structlog.get_logger("saga_app").info("ready", web=str(self.conf.canonical_url))

    async def on_shutdown(self) -> None:
        """Called by Faust when all services have stopped."""
        for close in self.close_hooks:
            await close()
        await super().on_shutdown()


def count_loss(loss: Loss) -> None:
    """Count records that were deleted before they were read. The stream layer logs their positions."""
    metrics.LOSS_EVENTS.labels(loss.tp.topic).inc()
    metrics.RECORDS_LOST.labels(loss.tp.topic).inc((loss.end or loss.first) - loss.first)


def run_garbage_collection_rarely() -> None:
    """Raise the thresholds of Python's garbage collector.

    Reference counting frees nearly all objects, and a full collection visits everything that belongs to records in
    flight.
    """
    gc.set_threshold(200_000, 50, 100)


def exempt_from_garbage_collection() -> None:
    """Exclude all objects that exist now from garbage collection."""
    gc.collect()
    gc.freeze()


def bootstrap_of(settings: Settings) -> str:
    """The bootstrap servers as `host:port,…`, for clients other than Faust."""
    return ",".join(part.removeprefix("kafka://") for part in settings.broker.replace(";", ",").split(","))


def build(name: str, settings: Settings, web_port: int) -> App:
    """Create the app of a service. Its name is also the consumer group and the prefix of its changelogs."""
    values: dict[str, Any] = {
        "broker": settings.broker.replace(",", ";"),
        "store": settings.store,
        "datadir": Path(settings.datadir) / f"{name}-{settings.instance or 'worker'}",
        "Worker": Worker,
        "PartitionAssignor": Assignor,
        "autodiscover": False,  # it hides import errors
        "logging_config": log.config(name, settings.log, settings.log_level),
        "web_bind": settings.bind,
        "web_port": web_port,
        "canonical_url": URL(advertised_url(settings.bind, settings.advertise, web_port)),
        "web_tables_enabled": False,  # Faust's own pages expose personal data without authentication
        "web_router_enabled": False,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": settings.partitions,
        "table_standby_replicas": 0,
        "broker_session_timeout": 10.0,
        "broker_heartbeat_interval": 2.0,
        "broker_request_timeout": 30.0,
        "broker_rebalance_timeout": 60.0,
        "broker_max_poll_interval": MAX_POLL_INTERVAL_S,
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
    app.close_hooks = []
    app.refusals = Refusals()
    app.checks = (lambda: app.refusals.problem, lambda: app.gate.topics.problem)
    Transport.install(app, max_inflight=MAX_INFLIGHT, partitions=settings.partitions).on_loss = count_loss
    if settings.embedded:
        embedded.adapt(app)
    log_throttle.install()
    return app
