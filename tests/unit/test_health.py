"""Health and metrics of a service."""

from time import monotonic
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from prometheus_client import REGISTRY

from saga_app.service import health
from saga_app.stream.consume.ledger import Ledger
from tests.fakes.stream import batch


def service_with_record(waits_for: str | None = None) -> Any:
    """The attributes of a Faust app that the health routes read. A record has been in flight for 5 s."""
    ledger = Ledger(limit=10)
    ledger.add(batch([0])).fetched_at = monotonic() - 5
    return SimpleNamespace(
        gate=SimpleNamespace(waits_for=waits_for),
        agents=["notify"],
        consumer=SimpleNamespace(ledger=ledger),
        web=SimpleNamespace(web_app=web.Application()),
    )


def commit_held_s() -> float | None:
    """The value of the metric (seconds)."""
    return REGISTRY.get_sample_value("saga_commit_held_seconds")


def test_the_metrics_show_how_long_a_commit_has_been_held_back() -> None:
    app = service_with_record()
    health.add_routes(app)
    assert 5 <= (commit_held_s() or 0) < 10
    app.consumer.ledger.forget()
    assert commit_held_s() == 0


def test_a_service_that_waits_for_its_broker_holds_no_commit_back() -> None:
    health.add_routes(service_with_record(waits_for="no broker"))
    assert commit_held_s() == 0
