"""Tests of `saga_app.stream.upstream.aiohttp` on a running aiohttp server."""

from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from saga_app.stream.upstream.aiohttp import AppRunnerHooks


async def test_connections_have_the_type_that_the_runner_names() -> None:
    class Connection(web.RequestHandler):
        __slots__ = ()

    connection_types: list[type] = []

    class Runner(AppRunnerHooks):
        connection_type = Connection

    class Server(TestServer):
        async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
            return Runner(self.app, max_field_size=100, **kwargs)

    async def handler(request: web.Request) -> web.Response:
        connection_types.append(type(request.protocol))
        return web.Response(text="fine")

    application = web.Application()
    application.router.add_get("/", handler)
    async with TestClient(Server(application)) as client:
        assert await (await client.get("/")).text() == "fine"
        long_header = await client.get("/", headers={"X-Long": "x" * 200})
        assert long_header.status == 400, "the runner's max_field_size was ignored"
    assert connection_types == [Connection]
