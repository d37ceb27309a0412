"""The explanation of a cluster that does not answer: which address fails, and how."""

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from devtools.wait import free_port
from saga_app.service.kafka import reachability

Now = Callable[[str], None]

UNKNOWN_HOST = ("kafka-7.invalid", 9092)  # the top-level domain that never exists (RFC 2606)


@pytest.fixture
def reachable() -> Iterator[tuple[str, int]]:
    """An address that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        yield host, port


def explanation(bootstrap: tuple[str, int], *advertised: tuple[str, int]) -> str:
    text = asyncio.run(reachability.explain([bootstrap], advertised, TimeoutError("late")))
    assert "\n" not in text
    return text


@pytest.mark.field(33)
def test_an_advertised_name_that_does_not_resolve_is_named(reachable: tuple[str, int], now: Now) -> None:
    text = explanation(reachable, reachable, UNKNOWN_HOST)
    assert f"the broker at 127.0.0.1:{reachable[1]} answers, but advertises kafka-7.invalid:9092" in text
    assert "name resolution failed" in text
    assert "advertised.listeners" in text
    now(text[:110])


@pytest.mark.field(33)
def test_an_advertised_address_that_refuses_is_named(reachable: tuple[str, int]) -> None:
    port = free_port()
    assert f"advertises 127.0.0.1:{port}, which cannot be reached (Connection refused)" in explanation(
        reachable, ("127.0.0.1", port)
    )


@pytest.mark.field(33)
def test_an_advertised_ipv6_address_is_in_brackets(reachable: tuple[str, int]) -> None:
    assert "advertises [::1]:" in explanation(reachable, ("::1", free_port()))


@pytest.mark.field(33)
def test_an_advertised_address_that_never_answers_is_reported(
    reachable: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never_connect(*_address: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(reachability, "CONNECT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(asyncio, "open_connection", never_connect)
    assert "no connection within 0.01 s" in explanation(reachable, ("192.0.2.7", 9092))


def test_an_unreachable_broker_is_named_with_the_reason() -> None:
    port = free_port()
    text = explanation(("127.0.0.1", port))
    assert text.startswith(f"no broker at 127.0.0.1:{port}: Connection refused")
    assert "SAGA_BROKER" in text


@pytest.mark.field(33)
def test_a_bootstrap_name_that_does_not_resolve_is_named() -> None:
    assert explanation(UNKNOWN_HOST).startswith("no broker at kafka-7.invalid:9092: name resolution failed")


def test_a_server_other_than_kafka_is_reported(reachable: tuple[str, int]) -> None:
    assert "does not answer like a Kafka broker: TimeoutError: late" in explanation(reachable, reachable)
