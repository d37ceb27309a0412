"""Who may change things over HTTP: clients of the trusted networks, or with the token, and no page of another site.

A browser sends a form of any page in the world to a server on loopback. So every change is checked by its Origin and
Sec-Fetch-Site. A page can also have its own name point to 127.0.0.1 (DNS rebinding), and then its origin is ours; but
then the Host header is its name, too: where no token is needed, the host must be one that no stranger can own.
"""

import hmac
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import SecretStr

from saga_app.service.problem import Handler, Problem

SAFE = ("GET", "HEAD", "OPTIONS")

#: Wrong tokens from one address within a minute; then further wrong ones are told to wait.
WRONG_TOKENS = 10


class Rules(Protocol):
    """What is needed of the settings."""

    @property
    def bind(self) -> str: ...
    @property
    def token(self) -> SecretStr | None: ...
    @property
    def trusted(self) -> Sequence[IPv4Network | IPv6Network]: ...


class Guard:
    """Checks requests by the rules; raises `Problem`."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.loopback_only = ip_address(rules.bind).is_loopback
        self.wrong: dict[str, list[float]] = {}

    def check(self, request: web.Request) -> None:
        """May this request be answered at all? Changes need more than questions do."""
        if self.loopback_only:
            _check_host(request)
        if request.method not in SAFE:
            self.check_change(request)

    def check_change(self, request: web.Request) -> None:
        """Raises a 403 for a page of another origin, a 401 for a client that is neither trusted nor has the token."""
        _check_origin(request)
        if not self._has_token(request):
            _check_host(request)
            if not self._is_trusted(request.remote):
                raise _unauthorized("changes from your network need the token: Authorization: Bearer …")

    def _has_token(self, request: web.Request) -> bool:
        given, token = request.headers.get("Authorization"), self.rules.token
        if given is None or token is None:
            return False
        scheme, _, value = given.partition(" ")
        sent = value.strip().encode(
            errors="surrogateescape"
        )  # as aiohttp decoded it: bytes that are no UTF-8 come back
        right = hmac.compare_digest(sent, token.get_secret_value().encode())
        if scheme.lower() == "bearer" and right:
            return True
        self._slow_down(request.remote or "")
        self.wrong.setdefault(request.remote or "", []).append(monotonic())
        raise _unauthorized("this is not the token (SAGA_TOKEN)")

    def _slow_down(self, remote: str) -> None:
        """Whoever keeps sending wrong tokens has to wait; others behind the same address do not."""
        recent = [at for at in self.wrong.get(remote, ()) if monotonic() - at < 60]
        if recent:
            self.wrong[remote] = recent
        else:
            self.wrong.pop(remote, None)
        if len(recent) >= WRONG_TOKENS:
            raise Problem(429, "too many wrong tokens; wait a minute", headers={"Retry-After": "60"})

    def _is_trusted(self, remote: str | None) -> bool:
        if not remote:
            return False
        address = ip_address(remote.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self.rules.trusted)


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


def _check_origin(request: web.Request) -> None:
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = origin is None or origin.lower() in (f"http://{request.host}".lower(), f"https://{request.host}".lower())
    if not own or site not in (None, "same-origin", "none"):
        raise Problem(403, "a page of another origin may not change anything here")


def _check_host(request: web.Request) -> None:
    if not _unownable(request.host):
        raise Problem(403, f"this service is not known as {request.host}; ask it by its address, or as localhost")


def _unownable(host: str) -> bool:
    """Whether a host name is one that no stranger can have point to us: an address, localhost, this machine's name, or
    a name without a dot (a service in a compose network)."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if "." not in name and ":" not in name:
        return bool(name)
    if name.endswith(".localhost") or name == socket.gethostname().lower():
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def install(app: web.Application, rules: Rules) -> Guard:
    """Check every request to this application; behind the middleware of `problem`."""
    guard = Guard(rules)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        guard.check(request)
        return await handler(request)

    app.middlewares.append(check)
    return guard
