"""A web server for tests, as every service has it: problems and guard in front of the handlers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from ipaddress import ip_network
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from saga_app.web import compression, guard, http_server, problem

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))


@dataclass
class Rules:
    """The settings that the guard asks for."""

    bind: str = "127.0.0.1"
    token: SecretStr | None = None
    trusted: Any = LOOPBACK
    public: bool = False
    public_url: Any = ()
    proxies: Any = ()


class _Server(TestServer):
    """One that runs an application as our services do."""

    async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
        return http_server.Runner(self.app, **kwargs)


@asynccontextmanager
async def serving(
    add_routes: Callable[[web.Application], Any], rules: Rules | None = None
) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of an application with these routes."""
    app = web.Application()
    problem.install(app)
    guard.install(app, rules or Rules())
    compression.install(app)
    add_routes(app)
    async with TestClient(_Server(app)) as client:
        yield client


def route(
    method: str, path: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> Callable[[web.Application], Any]:
    """Adds just this one."""
    return lambda app: app.router.add_route(method, path, handler)


async def problem_of(answer: Any, status: int) -> dict[str, Any]:
    """The problem in an answer, which must be one with this status."""
    assert answer.status == status, await answer.text()
    assert answer.content_type == "application/problem+json"
    body = await answer.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(body)
    assert body["status"] == status
    assert "Traceback" not in str(body)
    return dict(body)


async def post_bytes(client: TestClient[Any, Any], path: str, body: Any, headers: dict[str, bytes]) -> "ReadAnswer":
    """A request whose headers are bytes, in whatever encoding; a client of aiohttp sends UTF-8 only."""
    connection = HTTPConnection(str(client.host), client.port, timeout=5)

    def post() -> ReadAnswer:
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": b"application/json", **headers})
            answer = connection.getresponse()
            return ReadAnswer(answer, answer.read())
        finally:
            connection.close()

    return await asyncio.to_thread(post)


class ReadAnswer:
    """An answer as `problem_of` takes it."""

    def __init__(self, answer: HTTPResponse, body: bytes) -> None:
        self.status, self.content_type, self.body = answer.status, answer.headers.get_content_type(), body

    async def text(self) -> str:
        """The body."""
        return self.body.decode()

    async def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)
