"""Addresses of a service that listens on SAGA_BIND: for clients on this machine, and for other workers."""

import socket

#: Wildcard addresses, and the loopback address on which a local client reaches a server bound to them.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}

#: Destinations for a route look-up; reserved for documentation (RFC 5737, RFC 3849). No packet is sent.
_ANYWHERE = {"0.0.0.0": "192.0.2.1", "::": "2001:db8::1"}


def url(host: str, port: int) -> str:
    """`http://host:port`, with an IPv6 address in brackets."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def local_url(bind: str, port: int) -> str:
    """The URL for a client on this machine."""
    return url(LOOPBACK.get(bind, bind), port)


def advertised_url(bind: str, advertise: str | None, port: int) -> str:
    """The URL for other workers.

    `advertise` is a host name or an address. If it is None, the bound address is used; for a wildcard address, the
    name of this machine if it resolves, otherwise the address of the default route.
    """
    return url(advertise or (_own_name(bind) or _route(bind) if bind in LOOPBACK else bind), port)


def _own_name(bind: str) -> str | None:
    """The name of this machine if it resolves to an address of the same family as `bind`, else None."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None, _family(bind))
    except (OSError, UnicodeError):
        return None
    return name


def _route(bind: str) -> str:
    """The local address of the default route; loopback if there is no route."""
    with socket.socket(_family(bind), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_ANYWHERE[bind], 9))
            return str(probe.getsockname()[0])
        except OSError:
            return LOOPBACK[bind]


def _family(bind: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in bind else socket.AF_INET
