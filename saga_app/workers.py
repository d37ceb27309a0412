"""Assembles the Faust app of each service of the plan, and of the console."""

from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME
from faust.web.base import BlueprintManager

from saga_app import settings as settings_
from saga_app.active_plan import PLAN, ROWS_CHANGELOG, SERVICES
from saga_app.saga.messages import DLQ, SIGNALS
from saga_app.saga.plan import CONSOLE
from saga_app.service import app as app_
from saga_app.service import build, health
from saga_app.service.app import App
from saga_app.service.kafka.broker_clock import BrokerClock
from saga_app.service.kafka.headroom import ChangelogRoom
from saga_app.service.memory.deadlines import Deadlines, Timer
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.web import compression, guard, http_server, problem, views
from tables.effects import effects
from tables.sagas import sagas

#: The services that have a worker.
NAMES = (*SERVICES, CONSOLE)


def make(name: str) -> App:
    """Create the app of a service of the plan, or of the console. Raises `ValueError` for an unknown name."""
    if name == CONSOLE:
        return console()
    if name == PLAN.initiator:
        return initiator()
    if name in SERVICES:
        made = service(name)
        build.serve_steps(made, effects(made))
        return made
    raise ValueError(f"the plan {PLAN.name} has no service {name}; known services are {', '.join(NAMES)}")


def service(name: str) -> App:
    """Create the app of a service with its web server, but without agents."""
    settings = settings_.load()
    made = app_.build(name, settings, settings.port(name))
    server: Any = made.web
    http_server.install(server)
    problem.install(server.web_app)
    guard.install(server.web_app, settings, [made.conf.canonical_url.host or ""])
    compression.install(server.web_app)
    health.add_routes(made)
    return made


def initiator() -> App:
    """Create the app of the service that starts the sagas. It owns the saga rows, so that it also detects overdue sagas
    and decides on operator actions.
    """
    made = service(PLAN.initiator)
    table, settings = sagas(made), made.settings
    headroom = ChangelogRoom(settings.partitions) if settings.embedded else None
    deadlines = Deadlines(PLAN, settings.deadline)
    rows = Rows(table, deadlines.row_written, *([headroom.row_written] if headroom else []))
    broker_clock = BrokerClock(ROWS_CHANGELOG)
    table.on_acknowledged = lambda kind, at: broker_clock.observe(kind == TIMESTAMP_LOG_APPEND_TIME, at)
    observer = Observer(PLAN, rows, settings.partitions, made.refusals)
    build.serve_steps(made, rows, broker_clock)
    build.listen(made, DLQ, "Record parked sagas.", "parked", observer)
    build.listen(made, SIGNALS, "Record failed attempts, missed deadlines and operator actions.", "signals", observer)
    made.service(Timer(made, table, rows, deadlines))  # type: ignore[arg-type]  # an instance is fine
    views.add_routes(made, table, rows, headroom)
    return made


def console() -> App:
    """Create the app of the console: page, API and event stream. It reads all topics without a consumer group."""
    from saga_app.console.console import Console

    made = service(CONSOLE)
    made.boot_strategy.enable_kafka = False  # it has no agents, and needs neither a group nor a producer
    server: Any = made.web
    server.blueprints = BlueprintManager(())  # Faust's own page would replace the console's
    served = Console(made.settings)
    served.add_routes(server.web_app)
    made.before_start = (served.index.database.check,)
    made.checks = (served.not_ready, served.broker_away, lambda: made.gate.topics.problem)
    made.service(served)  # type: ignore[arg-type]  # an instance is allowed
    return made
