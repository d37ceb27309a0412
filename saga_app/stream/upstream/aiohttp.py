"""Private names of aiohttp, written against aiohttp 3.14."""

from typing import Any

from aiohttp import web


class AppRunnerHooks(web.AppRunner):
    """An `AppRunner` whose server creates its connections as instances of `connection_type`."""

    connection_type: type[web.RequestHandler] = web.RequestHandler

    async def _make_server(self) -> web.Server:
        """aiohttp 3.14: called by `setup()`. After a rename connections are aiohttp's own, whose answers to malformed
        requests are text/plain.
        """
        return _Server(self.connection_type, await super()._make_server())


class _Server(web.Server):
    """The server that the runner has made, with connections of another type.

    aiohttp 3.14: `_kwargs` and `_loop` are passed to each connection. A rename raises AttributeError at start.
    """

    def __init__(self, connection_type: type[web.RequestHandler], server: Any) -> None:
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            **server._kwargs,
        )
        self._connection_type = connection_type

    def __call__(self) -> web.RequestHandler:
        return self._connection_type(self, loop=self._loop, **self._kwargs)
