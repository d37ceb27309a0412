"""HTTP errors as problem+json (RFC 9457), with a description for the client and without stack traces."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NotRequired, TypedDict

import structlog
from aiohttp import web

log = structlog.get_logger()

CONTENT_TYPE = "application/problem+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(TypedDict):
    """A problem with one field of one entry; index and field are None where they do not apply.

    `line`: for a CSV file only, the line (from 1) at which the entry starts.
    """

    index: int | None
    field: str | None
    message: str
    line: NotRequired[int]


class Problem(Exception):
    """Raised in handlers; the middleware converts it to a response. `more`: further members of the body."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, list(errors)
        self.headers, self.more = dict(headers or {}), more

    def body(self, instance: str) -> dict[str, Any]:
        """The members of RFC 9457; `instance` is the path of the request."""
        status = HTTPStatus(self.status)
        body: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": self.status}
        body |= {"detail": self.detail or status.description, "instance": instance}
        if self.errors:
            body["errors"] = self.errors
        return body | self.more

    def response(self, request: web.Request) -> web.Response:
        """The HTTP response."""
        if self.status == 503:
            self.headers.setdefault("Retry-After", "2")
        return web.Response(
            status=self.status, body=self.encode(request.path), content_type=CONTENT_TYPE, headers=self.headers
        )

    def encode(self, instance: str) -> bytes:
        """The body as JSON. Quoted header values may contain bytes that are not UTF-8, which are replaced."""
        return json.dumps(self.body(instance), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Convert exceptions of a handler to problem responses. Unexpected ones are logged, and answered with 500."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _known(request, error).response(request)
    except web.RequestPayloadError as error:
        request.content.feed_eof()  # or aiohttp tries to read the rest, and logs a traceback
        encoding = request.headers.get("Content-Encoding")
        log.debug("request body unreadable", path=request.path, error=str(error))
        detail = f"the body cannot be read: it is not {encoding}, or damaged" if encoding else "the body cannot be read"
        return Problem(400, detail, headers={"Connection": "close"}).response(request)
    except Exception as error:
        if request.transport is None or request.transport.is_closing():
            raise  # the client has closed the connection
        log.exception("request failed", method=request.method, path=request.path, error=type(error).__name__)
        return Problem(500, "internal error; the log of this service has the details").response(request)


def _known(request: web.Request, error: web.HTTPException) -> Problem:
    """Convert errors of aiohttp, such as an unknown path or method."""
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem(
                405, f"method {request.method} is not allowed; allowed: {allowed}", headers={"Allow": allowed}
            )
        case web.HTTPNotFound():
            return Problem(404, f"no resource at {request.path}")
    return Problem(error.status, "" if error.reason == HTTPStatus(error.status).phrase else error.reason)


async def _translate(request: web.Request, response: web.StreamResponse) -> None:
    """Convert errors that aiohttp creates before any middleware, such as 417. For its parser see http_server.py."""
    if isinstance(response, web.HTTPException) and response.status >= 400:
        problem = Problem(response.status, response.text or "")
        response.body = problem.encode(request.path)
        response.headers["Content-Type"] = CONTENT_TYPE
        response.headers["Content-Length"] = str(len(response.body))


def install(app: web.Application) -> None:
    """Install the conversion of errors in an application. Repeated calls have no effect."""
    if middleware not in app.middlewares:
        app.middlewares.insert(0, middleware)
        app.on_response_prepare.append(_translate)
