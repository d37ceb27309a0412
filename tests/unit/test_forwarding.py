"""The source of a request: which forwarding headers are trusted, and from which peers."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from saga_app.web.forwarding import PROXY_HEADERS, Source, address_of, source_of

pytestmark = pytest.mark.field(26)

#: A trusted proxy, and all trusted proxies.
PROXY = "10.0.0.5"
PROXIES = (ip_network("10.0.0.5"), ip_network("10.0.1.0/24"), ip_network("fd00::/64"))


def source(peer: str | None, *headers: tuple[str, str], **how: Any) -> Source:
    """The source of a request with these headers, where `PROXIES` are trusted."""
    return source_of(peer, CIMultiDict([("Host", "saga.example.com"), *headers]), PROXIES, **how)


def client(peer: str, *headers: tuple[str, str]) -> str | None:
    """The client's address, or None if it is unknown."""
    found = source(peer, *headers).client
    return str(found) if found else None


def test_without_forwarding_headers_the_peer_is_the_client() -> None:
    assert source("192.0.2.1") == Source(ip_address("192.0.2.1"), False, "saga.example.com")
    assert source("::ffff:192.0.2.1").client == ip_address("192.0.2.1")
    assert source(None).client is None


@pytest.mark.parametrize("name", [*PROXY_HEADERS, *(name.lower() for name in PROXY_HEADERS)])
def test_a_forwarding_header_of_an_untrusted_peer_hides_the_client(name: str) -> None:
    found = source("127.0.0.1", (name, "127.0.0.1"))
    assert (found.client, found.proxied, found.host, found.scheme) == (None, True, "saga.example.com", None)


@pytest.mark.parametrize("how", [{"old_http": True}, {"behind_proxy": True}])
def test_a_possible_proxy_without_headers_is_marked_as_proxied(how: dict[str, bool]) -> None:
    assert source("127.0.0.1", **how) == Source(ip_address("127.0.0.1"), True, "saga.example.com")


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("127.0.0.1, 192.0.2.1", "192.0.2.1"),
        ("127.0.0.1, 192.0.2.1, 10.0.1.7", "192.0.2.1"),
        ("127.0.0.1,192.0.2.1,10.0.1.7,fd00::9", "192.0.2.1"),
        ("10.0.1.8, 10.0.1.7", "10.0.1.8"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("127.0.0.1, unknown", None),
        ("127.0.0.1, _hidden", None),
        ("127.0.0.1, 300.0.0.1", None),
        ("127.0.0.1, <script>", None),
        ("", None),
        (",,", None),
    ],
)
def test_the_rightmost_address_that_is_not_a_proxy_is_the_client(chain: str, expected: str | None) -> None:
    assert client(PROXY, ("X-Forwarded-For", chain)) == expected
    if expected is not None and chain != "127.0.0.1, 300.0.0.1":
        lines = [("X-Forwarded-For", part) for part in chain.split(",")]
        assert client(PROXY, *lines) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ('FOR="192.0.2.1:4711";proto=https', "192.0.2.1"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for=127.0.0.1, for="192.0.2.1";by=10.0.0.5', "192.0.2.1"),
        ('for="192.0.2.1, 127.0.0.1"', None),
        ('for=192.0.2.1;host="a,b;c=\\"d"', "192.0.2.1"),
        ("for=unknown", None),
        ("for=_gazonk", None),
        ("proto=https", None),
        ("for=127.0.0.1;;;=", None),
        ('for="127.0.0.1', None),
        ("for=127.0.0.1" + ";x=y" * 1000, None),
    ],
)
def test_the_forwarded_header_is_parsed_as_in_rfc_7239(value: str, expected: str | None) -> None:
    assert client(PROXY, ("Forwarded", value)) == expected


@pytest.mark.parametrize("forwarded_for", ["127.0.0.1", "unknown"])
def test_headers_that_contradict_each_other_are_not_trusted(forwarded_for: str) -> None:
    header = ("X-Forwarded-For", "192.0.2.1")
    assert client(PROXY, header, ("Forwarded", f"for={forwarded_for}")) is None
    assert client(PROXY, ("X-Forwarded-For", "unknown"), ("Forwarded", "for=127.0.0.1")) is None
    assert client(PROXY, header, ("Forwarded", "for=192.0.2.1")) == "192.0.2.1"


def test_a_trusted_proxy_provides_host_and_scheme() -> None:
    separate = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Host", "a.example"), ("X-Forwarded-Proto", "HTTPS")]
    assert source(PROXY, *separate) == Source(ip_address("192.0.2.1"), True, "a.example", "https")
    standard = ("Forwarded", 'for=192.0.2.1;proto=https;host="a.example:8443"')
    assert source(PROXY, standard) == Source(ip_address("192.0.2.1"), True, "a.example:8443", "https")
    assert source(PROXY, ("X-Forwarded-Proto", "gopher")).scheme is None


def test_a_trusted_proxy_without_headers_is_the_client() -> None:
    assert source(PROXY) == Source(ip_address(PROXY), True, "saga.example.com")


@given(st.text(), st.text(), st.sampled_from(["127.0.0.1", PROXY]))
def test_no_header_can_change_the_client_or_raise_an_error(chain: str, standard: str, peer: str) -> None:
    found = source(peer, ("X-Forwarded-For", chain), ("Forwarded", standard), ("X-Forwarded-For", "192.0.2.1"))
    assert found.proxied
    assert found.client in (None, ip_address("192.0.2.1"))


@given(st.text())
def test_any_text_is_parsed_as_an_address_or_as_none(text: str) -> None:
    address_of(text)
