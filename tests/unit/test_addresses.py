"""The local and the advertised URL of a service, derived from the address to which it is bound."""

import socket
from collections.abc import Callable

import pytest

from saga_app.addresses import advertised_url, local_url

Now = Callable[[str], None]


@pytest.mark.field(25)
@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:6066"),
        ("127.0.0.2", "http://127.0.0.2:6066"),
        ("::1", "http://[::1]:6066"),
        ("192.0.2.7", "http://192.0.2.7:6066"),
        ("2001:db8::7", "http://[2001:db8::7]:6066"),
    ],
)
def test_a_bound_address_is_used_locally_and_advertised(bind: str, url: str, now: Now) -> None:
    assert local_url(bind, 6066) == url
    assert advertised_url(bind, None, 6066) == url
    now(f"{bind}: {url}")


@pytest.mark.field(25)
@pytest.mark.parametrize(("bind", "url"), [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80")])
def test_the_local_url_of_a_wildcard_address_is_loopback(bind: str, url: str) -> None:
    assert local_url(bind, 80) == url


@pytest.mark.field(25)
@pytest.mark.parametrize("bind", ["0.0.0.0", "::"])
def test_a_wildcard_address_is_advertised_by_a_resolvable_host_name(bind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "worker-7")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    assert advertised_url(bind, None, 80) == "http://worker-7:80"


@pytest.mark.field(25)
@pytest.mark.parametrize("bind", ["0.0.0.0", "::"])
@pytest.mark.parametrize("name", ["worker-7.invalid", "x" * 70])
def test_a_host_name_that_does_not_resolve_is_not_advertised(
    bind: str, name: str, monkeypatch: pytest.MonkeyPatch, now: Now
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    url = advertised_url(bind, None, 80)
    assert name not in url
    host = url.removeprefix("http://").rpartition(":")[0].strip("[]")
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
        now(f"{bind} with a name that does not resolve: {url}")


@pytest.mark.field(25)
@pytest.mark.parametrize(
    ("advertise", "url"),
    [("worker-7.example", "http://worker-7.example:80"), ("2001:db8::7", "http://[2001:db8::7]:80")],
)
def test_a_configured_host_is_advertised_instead_of_the_bound_address(advertise: str, url: str) -> None:
    assert advertised_url("0.0.0.0", advertise, 80) == url
