"""What a service says of itself."""

from time import monotonic
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from prometheus_client import REGISTRY

from saga_app.service import health
from saga_app.stream.consume.ledger import Ledger
from tests.fakes.stream import batch


def service(waits_for: str | None = None) -> Any:
    """As much of a service as its health looks at; it has had a record for 5 s."""
    ledger = Ledger(limit=10)
    ledger.add(batch([0])).fetched_at = monotonic() - 5
    return SimpleNamespace(
        gate=SimpleNamespace(waits_for=waits_for),
        agents=["notify"],
        consumer=SimpleNamespace(ledger=ledger),
        web=SimpleNamespace(web_app=web.Application()),
    )


def held() -> float | None:
    return REGISTRY.get_sample_value("saga_commit_held_seconds")


def test_the_metrics_tell_how_long_a_commit_has_been_held_back() -> None:
    app = service()
    health.add_routes(app)
    assert 5 <= (held() or 0) < 10
    app.consumer.ledger.forget()
    assert held() == 0


def test_a_service_that_waits_for_its_broker_holds_nothing_back() -> None:
    health.add_routes(service(waits_for="no broker"))
    assert held() == 0
