"""Assembles the console, reader, index, event stream and API, as one service of a Faust app."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from tempfile import TemporaryDirectory
from time import time
from typing import Any

from aiohttp import web
from mode import Service

from saga_app.active_plan import SERVICES
from saga_app.addresses import local_url
from saga_app.console import gauges
from saga_app.console.http import api, contracts, page_files
from saga_app.console.http.hub import Hub
from saga_app.console.index.fold import Event
from saga_app.console.index.index import Index
from saga_app.console.index.query import Queries
from saga_app.console.kafka.lookup import Lookup
from saga_app.console.kafka.reader import Reader
from saga_app.console.kafka.services import Services
from saga_app.console.kafka.source import Source, Stale, Waiting
from saga_app.console.kafka.trace import Trace
from saga_app.console.operator.operator import Operator
from saga_app.environment import WrongEnvironment
from saga_app.saga.times import utc
from saga_app.service import policy
from saga_app.service.app import bootstrap_of
from saga_app.service.kafka.headroom import refusal
from saga_app.settings import Settings
from saga_app.stream import Sender
from saga_app.web.start_saga import Starter


def now() -> datetime:
    """The current time."""
    return utc(time())


def _temporary_folder() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix="saga-console-")
    except OSError as error:
        raise WrongEnvironment(f"TMPDIR: no temporary directory can be used ({error.strerror}): set TMPDIR") from None


class Console(Service):
    """The console without its web server.

    `index`: URL of the index database; by default that of the settings, or a temporary file with the embedded broker.
    """

    def __init__(self, settings: Settings, index: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        bootstrap = bootstrap_of(settings)
        self._folder = _temporary_folder() if settings.embedded and not index else None
        own = f"sqlite:///{self._folder.name}/index.sqlite" if self._folder else settings.index
        self.index = Index(index or own)
        self.queries = Queries(self.index, now)
        self.hub = Hub(self.queries.changed_after, now)
        source = partial(Source, bootstrap, settings.partitions, settings.embedded)
        self.reader = Reader(self.index, source, self._publish, self._tick, self._died, settings.embedded)
        urls = {service: local_url(settings.bind, settings.port(service)) for service in SERVICES}
        self.services = Services(bootstrap, settings.partitions, settings.embedded, urls, self._on_poll)
        self.lookup = Lookup(bootstrap)
        self.trace = Trace(self.lookup, settings.partitions, settings.embedded)
        self.sender = Sender(bootstrap, timeout_s=8.0, partitions=settings.partitions)
        self.starter = Starter(
            self.sender,
            "console",
            known=self.queries.users,
            key_taken=self.queries.is_key_taken,
            headroom=self._headroom,
        )
        self.operator = Operator(
            queries=self.queries,
            sender=self.sender,
            lookup=self.lookup,
            not_ready=self.not_ready,
            accepted=self.starter.accepted,
            headroom=self._headroom,
            now=now,
        )
        self.departments = list(policy.load(settings.policy))
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def add_routes(self, app: web.Application) -> None:
        """Add the API, its contracts and the page to the web server."""
        calls = api.Api(
            starter=self.starter,
            queries=self.queries,
            hub=self.hub,
            trace=self.trace,
            operator=self.operator,
            stats=self.stats,
            not_ready=self.not_ready,
            now=now,
        ).calls()
        api.add_routes(app, calls)
        contracts.add_routes(app, calls)
        page_files.add_routes(app, page_files.load())

    async def on_start(self) -> None:
        """Start the reader and the polling of the services."""
        self._event_loop = asyncio.get_running_loop()
        self.reader.start()
        self.add_future(self.services.run())

    async def on_stop(self) -> None:
        """Disconnect the clients, then stop the reader."""
        self.hub.stop()
        await self.reader.stop()
        await self.lookup.close()
        await self.sender.close()
        self.queries.close()
        if self._folder is not None:
            self._folder.cleanup()

    def not_ready(self) -> str | None:
        """Why the index is not up to date, or None."""
        return self.reader.not_ready

    def broker_away(self) -> str | None:
        """Why the data may be out of date, or None."""
        return None if self.services.broker_up else "the broker does not respond"

    def stats(self) -> dict[str, Any]:
        """The current statistics, as `GET /api/stats` returns them."""
        return self.hub.stats or self._with_console_state(self.reader.figures())

    def _with_console_state(self, figures: dict[str, Any]) -> dict[str, Any]:
        capacity = self.reader.capacity
        return figures | {
            "services": self.services.shown,
            "broker": {
                "embedded": self.settings.embedded,
                "up": self.services.broker_up,
                "bootstrap": bootstrap_of(self.settings),
                "fill": round(capacity.fill, 3) if capacity else None,
            },
            "departments": self.departments,
            "lag": str(self.settings.lag),
            "not_ready": self.not_ready(),
        }

    def _publish(self, epoch: str, last: int, events: list[Event]) -> None:
        self._call_in_loop(self.hub.publish, epoch, last, events)

    def _tick(self, figures: dict[str, Any]) -> None:
        self._call_in_loop(self._show, figures)

    def _show(self, figures: dict[str, Any]) -> None:
        shown = self._with_console_state(figures)
        self.hub.tick(shown)
        gauges.show(shown, self.hub.clients, self.reader.records)

    def _died(self, error: BaseException) -> None:
        """Crash the service, because a console without a reader is useless; the supervisor restarts it."""
        self._call_in_loop(lambda: asyncio.ensure_future(self.crash(error)))

    def _call_in_loop(self, call: Callable[..., Any], *args: Any) -> None:
        if self._event_loop is not None and not self._event_loop.is_closed():
            self._event_loop.call_soon_threadsafe(call, *args)

    def _on_poll(self, cluster: str, changed: Waiting | Stale | None) -> bool:
        if not self.reader.broker_up:
            return False
        if cluster and self.index.cluster and cluster != self.index.cluster:
            changed = Stale("a different Kafka cluster is at the address of the broker")
        if changed is not None:
            self.reader.interrupt(changed)
        return True

    def _headroom(self, count: int) -> str | None:
        """Why the embedded broker cannot take `count` more sagas, or None. When full, it drops records silently."""
        capacity = self.reader.capacity
        if capacity is None:
            return None
        if reason := self.not_ready():
            return f"the fill level of the embedded broker is not known yet: {reason}"
        unread = sum(1 for id in self.starter.accepted if not self.reader.fold.knows(id))
        coming = count + unread + len(self.starter.pending) + len(self.reader.fold.open)
        return refusal(capacity, coming, self.settings.partitions)
