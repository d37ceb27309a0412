"""Which address is named when a cluster does not answer, and what failed there."""

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from devtools.wait import free_port
from saga_app.service.kafka import reachability

Now = Callable[[str], None]

ABSENT = ("kafka-7.invalid", 9092)  # the top-level domain that never exists (RFC 2606)


@pytest.fixture
def there() -> Iterator[tuple[str, int]]:
    """An address that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def explained(bootstrap: tuple[str, int], *advertised: tuple[str, int]) -> str:
    text = asyncio.run(reachability.explain([bootstrap], advertised, TimeoutError("late")))
    assert "\n" not in text
    return text


@pytest.mark.field(33)
def test_an_advertised_name_that_does_not_resolve_is_named(there: tuple[str, int], now: Now) -> None:
    text = explained(there, there, ABSENT)
    assert f"the broker at 127.0.0.1:{there[1]} answers, but advertises kafka-7.invalid:9092" in text
    assert "name resolution failed" in text
    assert "advertised.listeners" in text
    now(text[:110])


@pytest.mark.field(33)
def test_an_advertised_address_that_refuses_is_named(there: tuple[str, int]) -> None:
    port = free_port()
    assert f"advertises 127.0.0.1:{port}, which cannot be reached (Connection refused)" in explained(
        there, ("127.0.0.1", port)
    )


@pytest.mark.field(33)
def test_an_advertised_ipv6_address_is_in_brackets(there: tuple[str, int]) -> None:
    assert "advertises [::1]:" in explained(there, ("::1", free_port()))


@pytest.mark.field(33)
def test_an_advertised_address_that_never_answers_is_given_up(
    there: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_address: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(reachability, "CONNECT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(asyncio, "open_connection", never)
    assert "no connection within 0.01 s" in explained(there, ("192.0.2.7", 9092))


def test_a_broker_that_is_away_is_named_with_the_reason() -> None:
    port = free_port()
    text = explained(("127.0.0.1", port))
    assert text.startswith(f"no broker at 127.0.0.1:{port}: Connection refused")
    assert "SAGA_BROKER" in text


@pytest.mark.field(33)
def test_a_bootstrap_name_that_does_not_resolve_is_named() -> None:
    assert explained(ABSENT).startswith("no broker at kafka-7.invalid:9092: name resolution failed")


def test_a_server_that_is_no_kafka_is_said_to_answer_otherwise(there: tuple[str, int]) -> None:
    assert "does not answer like a Kafka broker: TimeoutError: late" in explained(there, there)
