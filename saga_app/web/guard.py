"""Who may read and change what over HTTP. docs/how-to/secure-access.md has the rules in words.

Three things are checked. The host: a page can have its own name point to 127.0.0.1 (DNS rebinding), so a client that
is trusted by its address has to use a name that no stranger can own. The origin: a browser sends a form of any page in
the world, so every change has to come from our own page or from no page. The client: by its network or by the token.
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
from pydantic import SecretStr

from saga_app.settings import host_of, origin_of
from saga_app.web.forwarding import Source, is_within, source_of
from saga_app.web.problem import Handler, Problem
from saga_app.web.session import COOKIE, Sessions

log = structlog.get_logger()

SAFE = ("GET", "HEAD", "OPTIONS")

#: Served to everybody, as it has no personal data: the page (which asks for the token), health, metrics, contracts.
OPEN = ("/", "/metrics", "/openapi.json", "/asyncapi.json", "/api/session")
OPEN_BELOW = ("/page/", "/health/")

#: Wrong tokens from one address within a minute, after which further wrong ones are refused with a 429; addresses kept.
WRONG_TOKENS, ADDRESSES = 10, 10_000


class Rules(Protocol):
    """The settings that it needs."""

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
    """Checks requests by the rules. `names` are further host names of this service."""

    def __init__(self, rules: Rules, names: Iterable[str] = ()) -> None:
        self.rules = rules
        self.loopback_only = ip_address(rules.bind).is_loopback
        self.public_hosts = {urlsplit(origin).hostname or "" for origin in rules.public_url}
        self.names = {socket.gethostname().lower(), *(name.lower() for name in names)}
        self.sessions = Sessions(rules.token) if rules.token else None
        self.wrong: dict[str, list[float]] = {}

    def check(self, request: web.Request) -> None:
        """Raises a `Problem` (401, 403 or 429) for a request that must not be answered."""
        visit = Visit(self, request)
        if self.loopback_only:
            visit.check_host()
        if visit.changes:
            visit.check_origin()
        if not _is_open(request):
            visit.check_client()

    def access(self, request: web.Request) -> dict[str, bool]:
        """What this client may do, and whether a token would let it do more."""
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
        """The value of the session cookie for the right token. Raises `Problem` 401, 403 or 429."""
        if self.sessions is None:
            raise Problem(403, _NO_TOKEN)
        self.check_token(request, token)
        return self.sessions.issue()

    def check_token(self, request: web.Request, token: str) -> None:
        """Raises a 401 for a wrong token; a 429 for the eleventh within a minute."""
        sent = token.encode(errors="surrogateescape")  # aiohttp decoded it so: bytes that are no UTF-8 come back
        right = self.rules.token.get_secret_value().encode() if self.rules.token else b""
        if right and hmac.compare_digest(sent, right):
            return
        self._count_wrong_token(str(self.source_of(request).client or request.remote))
        raise _unauthorized("this is not the token (SAGA_TOKEN)")

    def _count_wrong_token(self, address: str) -> None:
        """Only wrong tokens are slowed down: others may share the address, for example behind a proxy."""
        recent = [at for at in self.wrong.pop(address, ()) if monotonic() - at < 60]
        self.wrong[address] = [*recent[-WRONG_TOKENS:], monotonic()]
        if len(self.wrong) > ADDRESSES:
            del self.wrong[next(iter(self.wrong))]
        if len(recent) >= WRONG_TOKENS:
            raise Problem(429, "too many wrong tokens; wait a minute", headers={"Retry-After": "60"})

    def source_of(self, request: web.Request) -> Source:
        """Where the request comes from, as far as that can be believed."""
        return source_of(
            request.remote,
            request.headers,
            self.rules.proxies,
            old_http=request.version < HttpVersion11,
            behind_proxy=bool(self.rules.public_url) and not self.rules.proxies,
        )

    def knows_host(self, host: str) -> bool:
        """Whether a host is ours, or one that no stranger can have point to us: an address, localhost, or a name
        without a dot (a service in a compose network)."""
        name = host_of(host)
        if name is None:
            return False
        if name in self.public_hosts or name in self.names or name.endswith(".localhost"):
            return True
        return ":" in name or "." not in name or _is_address(name)

    def is_own_origin(self, origin: str, source: Source) -> bool:
        """Whether a page of this origin is ours: the public URL, or the host that the request itself was sent to."""
        given = origin_of(origin)
        if given is None or given in self.rules.public_url:
            return given is not None
        if host_of(source.host) in self.public_hosts:
            return False  # such as http:// where the public URL is https://
        return given in (origin_of(f"{scheme}://{source.host}") for scheme in _schemes(source))


class Visit:
    """One request, and what has been found out about it."""

    def __init__(self, guard: Guard, request: web.Request) -> None:
        self.guard, self.request = guard, request
        self.changes = request.method not in SAFE

    @cached_property
    def source(self) -> Source:
        return self.guard.source_of(self.request)

    def check_host(self) -> None:
        """The Host header as well as what a proxy says: a page that rebinds its name can write any other header."""
        for host in (self.request.headers.get("Host", ""), self.source.host):
            if host and not self.guard.knows_host(host):
                raise Problem(
                    403,
                    f"this service is not known as {host[:200]}: use its address or localhost, or name the URL at "
                    "which browsers reach it in SAGA_PUBLIC_URL",
                )

    def check_origin(self) -> None:
        """A change from a page of another origin is refused, whatever else the request has."""
        origins, sites = self._all("Origin"), self._all("Sec-Fetch-Site")
        own = len(origins) <= 1 and all(self.guard.is_own_origin(origin, self.source) for origin in origins)
        if not own or not set(sites) <= {"same-origin", "none"}:
            raise Problem(
                403,
                "a page of another origin may not change anything here; if this is the console's own page behind a "
                "proxy, name its URL in SAGA_PUBLIC_URL",
            )

    def check_client(self, from_our_page: bool = False) -> None:
        """By the token, by the session of a browser, or by the client's network.

        A change that may have come through a proxy needs the token or our own page's origin: the address of a proxy on
        this machine is that of this machine.
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
            return False  # for the proxy in front, which passes it on
        self.guard.check_token(self.request, value.strip() if scheme.lower() == "bearer" else "")
        return True

    def _has_session(self) -> bool:
        value = self.request.cookies.get(COOKIE)
        return value is not None and self.guard.sessions is not None and self.guard.sessions.is_valid(value)

    def _refusal(self, where: str) -> Problem:
        what = "a change" if self.changes else "reading"
        if self.guard.sessions is None:
            return Problem(403, f"{what} {where} needs a token, and none is set: {_NO_TOKEN}")
        return _unauthorized(
            f"{what} {where} needs the token: Authorization: Bearer …, or sign in on the console's page"
        )

    def _all(self, name: str) -> list[str]:
        return list(self.request.headers.getall(name, ()))


_NO_TOKEN = "set SAGA_TOKEN for the services and send it, or add the network to SAGA_TRUSTED"


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


def _is_open(request: web.Request) -> bool:
    """By the route that was found, not by the path as it was written."""
    resource = request.match_info.route.resource
    return resource is not None and (resource.canonical in OPEN or resource.canonical.startswith(OPEN_BELOW))


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
    """Check every request to this application; behind the middleware of `problem`."""
    guard = app[GUARD] = Guard(rules, names)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        guard.check(request)
        return await handler(request)

    app.middlewares.append(check)
    if rules.public_url and not rules.proxies:
        log.warning(
            "clients behind the proxy have the rights of the proxy's address",
            remedy="name the proxy in SAGA_PROXIES and let it set X-Forwarded-For",
        )
    return guard
