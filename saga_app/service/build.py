"""A service from its name: its app, its world, and an agent for each of its steps."""

from collections.abc import Callable
from typing import Any

from faust import StreamT

from saga_app import settings as settings_
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service import compression, guard, health, http_server, policy, problem
from saga_app.service.app import App, build
from saga_app.service.broker_clock import BrokerClock
from saga_app.service.effects import Effects
from saga_app.service.mail import SmtpMail
from saga_app.service.observer import Observer
from saga_app.service.rows import Rows
from saga_app.service.step import StepLoop
from saga_app.service.world import FilePolicy, LogMail, Mischief, MockStock, World
from saga_app.settings import Settings
from saga_app.stream import Pool


def world(settings: Settings) -> World:
    """The outside world by the settings."""
    departments = policy.load(settings.policy)
    mail = LogMail() if settings.mail.scheme == "log" else SmtpMail.at(settings.mail)
    mischief = Mischief(
        lag=(settings.lag.least, settings.lag.most),
        flaky=settings.flaky_rate,
        error=settings.error_rate,
        deny=settings.deny_rate,
    )
    return World(MockStock(departments), FilePolicy(departments), mail, mischief, settings.seed)


def service(name: str, web_port: Callable[[Settings], int]) -> App:
    """The app of a service, without agents yet."""
    settings = settings_.load()
    app = build(name, settings, web_port(settings))
    server: Any = app.web
    http_server.install(server)
    problem.install(server.web_app)
    guard.install(server.web_app, settings, [app.conf.canonical_url.host or ""])
    compression.install(server.web_app)
    health.add_routes(app)
    return app


def serve_steps(
    app: App, rows: Rows | None = None, effects: Effects | None = None, broker_clock: BrokerClock | None = None
) -> None:
    """An agent for each step that the plan gives to this service; its help is the step's own first line."""
    outside = world(app.settings)
    app.closing.append(outside.close)
    for step in ONBOARDING.of(app.conf.id):
        partitions, refusals = app.settings.partitions, app.refusals
        loop = StepLoop(ONBOARDING, step, outside, partitions, rows, effects, refusals, broker_clock)
        listen(app, step.topic, step.act.__doc__ or "", step.name, loop)


def listen(app: App, topic: str, help: str, name: str, listener: StepLoop | Observer) -> None:
    """An agent that gives every record of a topic to a listener, by way of the stream layer."""

    async def agent(stream: StreamT[bytes]) -> None:
        await Pool(app, listener.handle, timeout_s=None, on_refusal=listener.on_refusal).run(stream)

    agent.__doc__, agent.__name__ = help, name
    source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    app.agent(source, name=name)(agent)
