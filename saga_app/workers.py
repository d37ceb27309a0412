"""Assembles the Faust app of a service: the stream layer, its web server, its health."""

from collections.abc import Callable
from typing import Any

from saga_app import settings as settings_
from saga_app.service import health
from saga_app.service.app import App, build
from saga_app.settings import Settings
from saga_app.web import compression, guard, http_server, problem


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
