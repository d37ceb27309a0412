"""Answers requests that are malformed or too large for a handler with problem+json.

By default aiohttp answers them below its middlewares, as text/plain that quotes the request, and logs a traceback.
"""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong

from saga_app.stream.upstream.aiohttp import AppRunnerHooks
from saga_app.stream.upstream.faust import use_web_runner
from saga_app.web.problem import Problem

log = structlog.get_logger()

#: The maximum length of the request line and of a header (bytes). They differ so that an error shows which one it was.
LINE_BYTES, HEADER_BYTES = 65_536, 32_768

#: How long data that a refused client still sends is read and dropped (seconds). Closing at once would reset the
#: connection before the client has read the response.
DRAIN_S = 2.0


class Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ("_refused", "closed")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refused, self.closed = False, asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Drop data that follows a malformed request, because the start of the next request is unknown."""
        if not self._refused:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wake a refusal that waits until its client closes the connection."""
        self.closed.set()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The response to a request that could not be parsed, or that failed below the middlewares."""
        if not isinstance(exc, HttpProcessingError) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        self._refused = True
        problem = refusal(exc)
        log.info("malformed request refused", client=request.remote, status=problem.status, problem=problem.detail)
        return _Refusal(problem, self)


class _Refusal(web.Response):
    """A response that keeps the connection open until the client has read it and closes the connection."""

    def __init__(self, problem: Problem, connection: Connection) -> None:
        super().__init__(status=problem.status, body=problem.encode("/"), content_type="application/problem+json")
        self.force_close()
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        if self._connection.transport is not None:
            self._connection.transport.write_eof()
        try:
            await asyncio.wait_for(self._connection.closed.wait(), DRAIN_S)
        except TimeoutError:
            pass


def refusal(error: HttpProcessingError) -> Problem:
    """Why a request was refused, in a sentence for the developer of the client."""
    if isinstance(error, LineTooLong):
        if error.args[1] == LINE_BYTES:
            return Problem(414, f"the request line is longer than {LINE_BYTES // 1024} KiB")
        return Problem(431, f"a header is longer than {HEADER_BYTES // 1024} KiB")
    if error.message.startswith("Too many headers"):
        return Problem(431, "the request has more than 128 headers")
    return Problem(400, _malformed(error))


def _malformed(error: HttpProcessingError) -> str:
    if isinstance(error, BadHttpMethod) and "HTTPS" in error.message:
        return "this port serves plain HTTP, and the request is HTTPS: use http://, or put a proxy with TLS in front"
    if isinstance(error, InvalidURLError):
        return "the URL of the request is malformed: percent-encode special and non-ASCII characters"
    if "'Host'" in error.message:
        return "an HTTP/1.1 request must have exactly one Host header"
    return f"malformed HTTP request: {_first_line(error.message)}"


def _first_line(message: str) -> str:
    """The parser's description, such as "invalid header token", without the quoted bytes."""
    lines = [line.strip().replace("`", "") for line in message.splitlines()]
    described = next((line for line in reversed(lines) if line.endswith(":")), lines[0] if lines else "")
    return described[:1].lower() + described[1:].rstrip(":")


class Runner(AppRunnerHooks):
    """Runs an application with `Connection` and the limits of this module."""

    connection_type = Connection

    def __init__(self, app: web.Application, **kwargs: Any) -> None:
        super().__init__(app, max_line_size=LINE_BYTES, max_field_size=HEADER_BYTES, **kwargs)


def install(server: Any) -> None:
    """Configure a Faust web server to use `Runner`. Call it before the server starts."""
    use_web_runner(server, Runner(server.web_app, access_log=None))
