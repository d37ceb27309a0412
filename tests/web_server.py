"""A web server for tests with the middlewares of the services: problems, access control and compression."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Protocol

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from saga_app.web import compression, guard, http_server, problem

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))


@dataclass
class Rules:
    """The settings that the guard needs; by default everything is allowed from this machine."""

    bind: str = "127.0.0.1"
    token: SecretStr | None = None
    trusted: Sequence[IPv4Network | IPv6Network] = LOOPBACK
    public: bool = False
    public_url: Sequence[str] = ()
    proxies: Sequence[IPv4Network | IPv6Network] = ()


class _Server(TestServer):
    """Runs an application with the same runner as the services."""

    async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
        return http_server.Runner(self.app, **kwargs)


@asynccontextmanager
async def serving(
    add_routes: Callable[[web.Application], object], rules: guard.Rules | None = None
) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """Run a server with these routes; yields a client of it."""
    app = web.Application()
    problem.install(app)
    guard.install(app, rules or Rules())
    compression.install(app)
    add_routes(app)
    async with TestClient(_Server(app)) as client:
        yield client


def route(
    method: str, path: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> Callable[[web.Application], object]:
    """A single route, as an argument for `serving`."""
    return lambda app: app.router.add_route(method, path, handler)


class Response(Protocol):
    """A response whose body can be read: aiohttp's, or a `RawResponse`."""

    @property
    def status(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    async def text(self) -> str: ...
    async def json(self) -> Any: ...


async def problem_of(response: Response, status: int) -> dict[str, Any]:
    """The body of a response, after checking that it is a valid problem (RFC 9457) with this status."""
    assert response.status == status, await response.text()
    assert response.content_type == "application/problem+json"
    body = await response.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(body)
    assert body["status"] == status
    assert "Traceback" not in str(body)
    return dict(body)


class RawResponse:
    """A response that was read with `http.client`."""

    def __init__(self, response: HTTPResponse, body: bytes) -> None:
        self.status, self.content_type, self.body = response.status, response.headers.get_content_type(), body

    async def text(self) -> str:
        return self.body.decode()

    async def json(self) -> Any:
        return json.loads(self.body)


async def post_bytes(
    client: TestClient[web.Request, web.Application], path: str, body: Any, headers: dict[str, bytes]
) -> RawResponse:
    """Post JSON with headers in any encoding; aiohttp's client can only send UTF-8."""
    connection = HTTPConnection(str(client.host), client.port, timeout=5)

    def post() -> RawResponse:
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": b"application/json", **headers})
            response = connection.getresponse()
            return RawResponse(response, response.read())
        finally:
            connection.close()

    return await asyncio.to_thread(post)
