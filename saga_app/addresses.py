"""Under which address a service that listens on SAGA_BIND is reached: from this machine, and from other workers."""

import socket

#: Addresses that mean "all of this machine's", and where a client on this machine finds what listens there.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}

#: Addresses reserved for documentation (RFC 5737, RFC 3849): no packet is sent, only the route is looked up.
_ANYWHERE = {"0.0.0.0": "192.0.2.1", "::": "2001:db8::1"}


def url(host: str, port: int) -> str:
    """`http://host:port`, with an IPv6 address in brackets."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def local_url(bind: str, port: int) -> str:
    """The URL for a client on this machine."""
    return url(LOOPBACK.get(bind, bind), port)


def advertised_url(bind: str, advertise: str | None, port: int) -> str:
    """The URL for other workers.

    `advertise`: a host name or an address, or None: the bound address, or, if that means all addresses, this machine's
    name if it resolves, else the address of the default route.
    """
    return url(advertise or (_own_name(bind) or _route(bind) if bind in LOOPBACK else bind), port)


def _own_name(bind: str) -> str | None:
    """This machine's name, if it resolves to an address of the kind that is listened on."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None, _family(bind))
    except (OSError, UnicodeError):
        return None
    return name


def _route(bind: str) -> str:
    """This machine's address on the way to others; loopback if there is no such way."""
    with socket.socket(_family(bind), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_ANYWHERE[bind], 9))
            return str(probe.getsockname()[0])
        except OSError:
            return LOOPBACK[bind]


def _family(bind: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in bind else socket.AF_INET
