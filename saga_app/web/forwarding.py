"""Determines the client of a request: the TCP peer, or the client that a trusted reverse proxy reports.

Any client can send forwarding headers, so they are trusted only from the networks in SAGA_PROXIES. From any other peer,
they show that the request came through an untrusted proxy, and its client is unknown.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from multidict import CIMultiDict, CIMultiDictProxy

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
Headers = CIMultiDict[str] | CIMultiDictProxy[str]

#: Headers whose presence shows that a request came through a proxy.
PROXY_HEADERS = (
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-Server",
    "X-Original-Forwarded-For",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
)


#: A longer Forwarded header is not parsed (characters). No real chain of proxies needs as many.
MAX_FORWARDED_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Source:
    """The trustworthy information about the origin of a request."""

    client: Address | None  #: None: the proxy is not trusted, or does not report it
    proxied: bool  #: whether the request may have come through a reverse proxy
    host: str  #: the host that the client requested, with its port if given
    scheme: str | None = None  #: http or https if a trusted proxy reports it


def source_of(
    peer: str | None, headers: Headers, proxies: Networks, *, old_http: bool = False, behind_proxy: bool = False
) -> Source:
    """Determine the source of a request.

    `peer`: the address of the TCP connection. `proxies`: the trusted networks. A request may also have come through a
    proxy if `old_http` (HTTP/1.0, the default of nginx) or `behind_proxy` (a public URL is set without trusted
    proxies).
    """
    address = address_of(peer or "")
    host = headers.get("Host", "")
    forwarded = any(name in headers for name in PROXY_HEADERS)
    if not is_within(address, proxies):
        return Source(None if forwarded else address, forwarded or old_http or behind_proxy, host)
    if not forwarded:
        return Source(address, True, host)
    elements = list(_forwarded(headers))
    chains = (_list(headers, "X-Forwarded-For"), [element.get("for", "unknown") for element in elements])
    clients = {_nearest(address, chain, proxies) for chain in chains if chain}
    hosts = _list(headers, "X-Forwarded-Host") or [element["host"] for element in elements if "host" in element]
    schemes = _list(headers, "X-Forwarded-Proto") or [element["proto"] for element in elements if "proto" in element]
    # A proxy sets one kind of header and forwards the other as the client wrote it: if they differ, trust neither.
    client = clients.pop() if len(clients) == 1 else None
    return Source(client, True, hosts[-1] if hosts else host, _scheme(schemes))


def _scheme(given: Sequence[str]) -> str | None:
    """The scheme reported by the nearest proxy."""
    nearest = given[-1].lower() if given else None
    return nearest if nearest in ("http", "https") else None


def address_of(text: str) -> Address | None:
    """Parse an address with optional port, brackets or zone; IPv4 mapped into IPv6 becomes IPv4. None if invalid."""
    found = re.fullmatch(r"\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+)(?::\d+)?|([0-9A-Fa-f:.%\w]+)", text.strip())
    if found is None:
        return None
    try:
        address = ip_address((found[1] or found[2] or found[3]).partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def is_within(address: Address | None, networks: Networks) -> bool:
    """Whether an address is in one of these networks; False for None."""
    return address is not None and any(address in network for network in networks)


def _nearest(peer: Address | None, hops: Sequence[str], proxies: Networks) -> Address | None:
    """The rightmost hop that is not a trusted proxy, or else the leftmost hop. Hops further left are not trustworthy.

    None if that hop is not an address, such as `unknown` or an obfuscated identifier (RFC 7239).
    """
    client = peer
    for hop in reversed(hops):
        if not is_within(client, proxies):
            break
        client = address_of(hop)
    return client


def _list(headers: Headers, name: str) -> list[str]:
    """The elements of a comma-separated header, which may be repeated."""
    return [part.strip() for line in headers.getall(name, ()) for part in line.split(",") if part.strip()]


_PAIR = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*')


def _forwarded(headers: Headers) -> Iterator[dict[str, str]]:
    """The elements of Forwarded (RFC 7239), nearest proxy last. A malformed element or an overlong line is empty."""
    for line in headers.getall("Forwarded", ()):
        for element in _split(line, ",") if len(line) <= MAX_FORWARDED_LENGTH else [""]:
            pairs = [_PAIR.fullmatch(pair) for pair in _split(element, ";") if pair.strip()]
            yield {pair[1].lower(): _unquoted(pair[2]) for pair in pairs if pair} if all(pairs) else {}


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside quotes."""
    return re.findall(rf'((?:"(?:[^"\\]|\\.)*"|[^{separator}"]|")+)', text)


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
