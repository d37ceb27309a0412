"""Where a request comes from: the peer itself, or what a trusted reverse proxy says about its client.

Forwarding headers can be written by anybody. They are believed only from the networks in SAGA_PROXIES. From any other
peer they show that the request came through a proxy that is not ours to trust: then its client is unknown.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from multidict import CIMultiDict, CIMultiDictProxy

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
Headers = CIMultiDict[str] | CIMultiDictProxy[str]

#: Their presence shows that a request came through a proxy.
SIGNS = (
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


#: Characters of a Forwarded header that are parsed: more than any chain of proxies needs.
LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Source:
    """A request's origin as far as it can be believed."""

    client: Address | None  #: None: a proxy that is not trusted, or one that does not say it
    proxied: bool  #: whether the request may have come through a reverse proxy
    host: str  #: the host that the client asked for, with its port if it named one
    scheme: str | None = None  #: http or https if a trusted proxy says it


def source_of(
    peer: str | None, headers: Headers, proxies: Networks, *, old_http: bool = False, behind_proxy: bool = False
) -> Source:
    """The source of a request.

    `peer` is the address of the TCP connection. `old_http` (HTTP/1.0, which nginx speaks by default) and
    `behind_proxy` (a public URL is set, but no proxy is named) count as possible proxies.
    """
    address = address_of(peer or "")
    host = headers.get("Host", "")
    forwarded = any(name in headers for name in SIGNS)
    if not is_within(address, proxies):
        return Source(None if forwarded else address, forwarded or old_http or behind_proxy, host)
    if not forwarded:
        return Source(address, True, host)
    elements = list(_forwarded(headers))
    chains = (_list(headers, "X-Forwarded-For"), [element.get("for", "unknown") for element in elements])
    clients = {_nearest(address, chain, proxies) for chain in chains if chain}
    hosts = _list(headers, "X-Forwarded-Host") or [element["host"] for element in elements if "host" in element]
    schemes = _list(headers, "X-Forwarded-Proto") or [element["proto"] for element in elements if "proto" in element]
    # A proxy sets one kind of header and passes the other on as its client wrote it: if they differ, believe neither.
    client = clients.pop() if len(clients) == 1 else None
    return Source(client, True, hosts[-1] if hosts else host, _scheme(schemes))


def _scheme(given: Sequence[str]) -> str | None:
    """That of the nearest proxy."""
    nearest = given[-1].lower() if given else None
    return nearest if nearest in ("http", "https") else None


def address_of(text: str) -> Address | None:
    """An address as peers and proxies write it: with a port, in brackets, with a zone, IPv4 mapped into IPv6."""
    found = re.fullmatch(r"\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+)(?::\d+)?|([0-9A-Fa-f:.%\w]+)", text.strip())
    if found is None:
        return None
    try:
        address = ip_address((found[1] or found[2] or found[3]).partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def is_within(address: Address | None, networks: Networks) -> bool:
    """Whether an address is in one of these networks; an unknown one never is."""
    return address is not None and any(address in network for network in networks)


def _nearest(peer: Address | None, hops: Sequence[str], proxies: Networks) -> Address | None:
    """The rightmost hop that is not a trusted proxy, or the first of all: what is left of it was written by strangers.

    None if that hop is no address: `unknown` and obfuscated identifiers (RFC 7239) name nobody.
    """
    client = peer
    for hop in reversed(hops):
        if not is_within(client, proxies):
            break
        client = address_of(hop)
    return client


def _list(headers: Headers, name: str) -> list[str]:
    """A header that is a list, also over several lines."""
    return [part.strip() for line in headers.getall(name, ()) for part in line.split(",") if part.strip()]


_PAIR = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*')


def _forwarded(headers: Headers) -> Iterator[dict[str, str]]:
    """The elements of Forwarded (RFC 7239), nearest proxy last. A malformed one, or too long a line, has no members."""
    for line in headers.getall("Forwarded", ()):
        for element in _split(line, ",") if len(line) <= LONGEST else [""]:
            pairs = [_PAIR.fullmatch(pair) for pair in _split(element, ";") if pair.strip()]
            yield {pair[1].lower(): _unquoted(pair[2]) for pair in pairs if pair} if all(pairs) else {}


def _split(text: str, separator: str) -> list[str]:
    """At separators that are not within quotes."""
    return re.findall(rf'((?:"(?:[^"\\]|\\.)*"|[^{separator}"]|")+)', text)


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
