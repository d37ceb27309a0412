"""Access control over HTTP. docs/how-to/secure-access.md describes the rules.

Three checks apply. Host: against DNS rebinding, a client that is trusted by its address must use a host name that an
attacker cannot own. Origin: against cross-site request forgery, a change must come from the console's own page, or from
a client without a page. Client: it must be in a trusted network or send the token.
"""

import hmac
import socket
from collections.abc import Iterable, Sequence
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from aiohttp import HttpVersion11, web
from cachetools import FIFOCache
from pydantic import SecretStr

from saga_app.settings import host_of, origin_of
from saga_app.web.forwarding import Source, is_within, source_of
from saga_app.web.problem import Handler, Problem
from saga_app.web.session import COOKIE, Sessions

log = structlog.get_logger()

SAFE = ("GET", "HEAD", "OPTIONS")

#: Public resources without personal data: the page (which asks for the token), health, metrics, API descriptions.
OPEN = ("/", "/metrics", "/openapi.json", "/asyncapi.json", "/api/plan", "/api/session")
OPEN_PREFIXES = ("/page/", "/health/")

#: Wrong tokens per address and minute; further ones are answered with 429.
MAX_WRONG_TOKENS = 10

#: Addresses whose wrong tokens are counted; the oldest is forgotten first.
MAX_ADDRESSES = 10_000


class Rules(Protocol):
    """The settings that the guard needs."""

    @property
    def bind(self) -> str: ...
    @property
    def token(self) -> SecretStr | None: ...
    @property
    def trusted(self) -> Sequence[IPv4Network | IPv6Network]: ...
    @property
    def public(self) -> bool: ...
    @property
    def public_url(self) -> Sequence[str]: ...
    @property
    def proxies(self) -> Sequence[IPv4Network | IPv6Network]: ...


class Guard:
    """Checks requests against the rules. `names`: further host names of this service."""

    def __init__(self, rules: Rules, names: Iterable[str] = ()) -> None:
        self.rules = rules
        self.loopback_only = ip_address(rules.bind).is_loopback
        self.public_hosts = {urlsplit(origin).hostname or "" for origin in rules.public_url}
        self.names = {socket.gethostname().lower(), *(name.lower() for name in names)}
        self.sessions = Sessions(rules.token) if rules.token else None
        self.wrong: FIFOCache[str, list[float]] = FIFOCache(MAX_ADDRESSES)

    def check(self, request: web.Request) -> None:
        """Raises `Problem` 401, 403 or 429 for a request that is not allowed."""
        visit = Visit(self, request)
        if self.loopback_only:
            visit.check_host()
        if visit.changes:
            visit.check_origin()
        if not _is_open(request):
            visit.check_client()

    def access(self, request: web.Request) -> dict[str, bool]:
        """Whether the client may read and change, and whether a token is configured."""
        return {
            "read": self._allows(request, False),
            "change": self._allows(request, True),
            "token": bool(self.sessions),
        }

    def _allows(self, request: web.Request, changes: bool) -> bool:
        visit = Visit(self, request)
        visit.changes = changes
        try:
            visit.check_client(from_our_page=True)
        except Problem:
            return False
        return True

    def open_session(self, request: web.Request, token: str) -> str:
        """Check the token and return the value of the session cookie. Raises `Problem` 401, 403 or 429."""
        if self.sessions is None:
            raise Problem(403, _NO_TOKEN)
        self.check_token(request, token)
        return self.sessions.issue()

    def check_token(self, request: web.Request, token: str) -> None:
        """Raises `Problem` 401 for a wrong token, and 429 after `MAX_WRONG_TOKENS` within a minute."""
        sent = token.encode(errors="surrogateescape")  # restores bytes that aiohttp could not decode as UTF-8
        right = self.rules.token.get_secret_value().encode() if self.rules.token else b""
        if right and hmac.compare_digest(sent, right):
            return
        self._count_wrong_token(str(self.source_of(request).client or request.remote))
        raise _unauthorized("this is not the token (SAGA_TOKEN)")

    def _count_wrong_token(self, address: str) -> None:
        """Count per address. Correct tokens are not limited, because clients behind a proxy share an address."""
        recent = [at for at in self.wrong.pop(address, ()) if monotonic() - at < 60]
        self.wrong[address] = [*recent[-MAX_WRONG_TOKENS:], monotonic()]
        if len(recent) >= MAX_WRONG_TOKENS:
            raise Problem(429, "too many wrong tokens; wait a minute", headers={"Retry-After": "60"})

    def source_of(self, request: web.Request) -> Source:
        """The source of the request, as far as it is trustworthy."""
        return source_of(
            request.remote,
            request.headers,
            self.rules.proxies,
            old_http=request.version < HttpVersion11,
            behind_proxy=bool(self.rules.public_url) and not self.rules.proxies,
        )

    def knows_host(self, host: str) -> bool:
        """Whether a host is a configured name of this service, or a name that an attacker cannot own.

        Those are addresses, localhost, and names without a dot (such as a service in a Compose network).
        """
        name = host_of(host)
        if name is None:
            return False
        if name in self.public_hosts or name in self.names or name.endswith(".localhost"):
            return True
        return ":" in name or "." not in name or _is_address(name)

    def is_own_origin(self, origin: str, source: Source) -> bool:
        """Whether an origin is that of the console's page: the public URL, or the host that the request was sent to."""
        given = origin_of(origin)
        if given is None or given in self.rules.public_url:
            return given is not None
        if host_of(source.host) in self.public_hosts:
            return False  # such as http:// where the public URL is https://
        return given in (origin_of(f"{scheme}://{source.host}") for scheme in _schemes(source))


class Visit:
    """The checks of one request."""

    def __init__(self, guard: Guard, request: web.Request) -> None:
        self.guard, self.request = guard, request
        self.changes = request.method not in SAFE

    @cached_property
    def source(self) -> Source:
        return self.guard.source_of(self.request)

    def check_host(self) -> None:
        """Check the Host header and the host that a proxy reports: an attacking page controls all other headers."""
        for host in (self.request.headers.get("Host", ""), self.source.host):
            if host and not self.guard.knows_host(host):
                raise Problem(
                    403,
                    f"unknown host {host[:200]}: use the address of this service or localhost, or name the URL at "
                    "which browsers reach it in SAGA_PUBLIC_URL",
                )

    def check_origin(self) -> None:
        """Refuse a change from a page of another origin, even with a valid token or session."""
        origins, sites = self._all("Origin"), self._all("Sec-Fetch-Site")
        own = len(origins) <= 1 and all(self.guard.is_own_origin(origin, self.source) for origin in origins)
        if not own or not set(sites) <= {"same-origin", "none"}:
            raise Problem(
                403,
                "a page of another origin may not change anything here; if this is the console's own page behind a "
                "proxy, name its URL in SAGA_PUBLIC_URL",
            )

    def check_client(self, from_our_page: bool = False) -> None:
        """Check the token, the session of a browser, or the network of the client.

        A change that may have come through a proxy needs the token or the origin of the console's page, because a proxy
        on this machine has the address of this machine.
        """
        rules, from_our_page = self.guard.rules, from_our_page or bool(self._all("Origin"))
        if self._has_token() or (self._has_session() and (from_our_page or not self.changes)):
            return
        if rules.public and not self.changes:
            return
        if not is_within(self.source.client, rules.trusted):
            raise self._refusal("from your network")
        self.check_host()
        if self.changes and self.source.proxied and not from_our_page:
            raise self._refusal("through a proxy and not from the console's page")

    def _has_token(self) -> bool:
        given = self.request.headers.get("Authorization")
        if given is None or self.guard.sessions is None:
            return False
        scheme, _, value = given.partition(" ")
        if scheme.lower() == "basic":
            return False  # meant for the proxy in front, which forwards it
        self.guard.check_token(self.request, value.strip() if scheme.lower() == "bearer" else "")
        return True

    def _has_session(self) -> bool:
        value = self.request.cookies.get(COOKIE)
        return value is not None and self.guard.sessions is not None and self.guard.sessions.is_valid(value)

    def _refusal(self, where: str) -> Problem:
        what = "a change" if self.changes else "reading"
        if self.guard.sessions is None:
            return Problem(403, f"{what} {where} needs a token, and none is configured: {_NO_TOKEN}")
        return _unauthorized(
            f"{what} {where} needs the token: Authorization: Bearer …, or sign in on the console's page"
        )

    def _all(self, name: str) -> list[str]:
        return list(self.request.headers.getall(name, ()))


_NO_TOKEN = "set SAGA_TOKEN for the services and send it, or add the network to SAGA_TRUSTED"


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


def _is_open(request: web.Request) -> bool:
    """Whether the resource is public, judged by the matched route and not by the path as the client wrote it."""
    resource = request.match_info.route.resource
    return resource is not None and (resource.canonical in OPEN or resource.canonical.startswith(OPEN_PREFIXES))


def _schemes(source: Source) -> tuple[str, ...]:
    return (source.scheme,) if source.scheme else ("http", "https")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


#: The guard of an application.
GUARD = web.AppKey("guard", Guard)


def install(app: web.Application, rules: Rules, names: Iterable[str] = ()) -> Guard:
    """Check every request to this application. Install it after the middleware of `problem`."""
    guard = app[GUARD] = Guard(rules, names)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        guard.check(request)
        return await handler(request)

    app.middlewares.append(check)
    if rules.public_url and not rules.proxies:
        log.warning(
            "clients of the proxy have the access rights of its address",
            remedy="name the proxy in SAGA_PROXIES and let it set X-Forwarded-For",
        )
    return guard
