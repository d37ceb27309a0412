"""The routes `/health/live`, `/health/ready` and `/metrics` of a service."""

from time import monotonic
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from saga_app.service.metrics import COMMIT_HELD_SECONDS


def not_ready(app: Any) -> str | None:
    """Why the service is not ready, or None."""
    if app.gate.waits_for:
        return str(app.gate.waits_for)
    if app.should_stop:
        return "stopping"
    if reason := next((found for check in app.checks if (found := check())), None):
        return str(reason)
    phase = app.consumer.phase if app.agents else None
    silence_s = app.transport.lease.silent_s if phase is not None else 0.0
    if silence_s > app.conf.broker_session_timeout:
        return f"the broker has not answered for {silence_s:.0f} s"
    if phase is not None and phase.name != "STREAMING":
        return f"between assignments or in recovery: reads {phase.value}"
    return None


def commit_held_s(app: Any) -> float:
    """The age of the oldest unfinished record, which holds back a commit, in seconds."""
    if app.gate.waits_for or not app.agents:
        return 0.0
    return float(app.consumer.ledger.oldest_s(monotonic()))


def add_routes(app: Any) -> None:
    """Add the routes to the web server of a Faust app."""
    COMMIT_HELD_SECONDS.set_function(lambda: commit_held_s(app))

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(_request: web.Request) -> web.Response:
        reason = not_ready(app)
        if reason is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "waiting", "reason": reason}, status=503, headers={"Retry-After": "1"})

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    router = app.web.web_app.router
    router.add_get("/health/live", live)
    router.add_get("/health/ready", ready)
    router.add_get("/metrics", metrics)
