"""Compresses responses with gzip for clients that accept it. A page of 500 sagas shrinks to a twentieth.

The event stream is not compressed, because each event has to be sent at once.
"""

import asyncio
import gzip

from aiohttp import web

from saga_app.web.problem import Handler

#: Shorter bodies are not compressed. From `THREAD_BYTES` on compression runs in a thread, because it takes
#: milliseconds.
MIN_BYTES, THREAD_BYTES = 1024, 32_768

#: From 1 to 9. For JSON, level 4 is within a tenth of the size of level 9, in a quarter of the time.
LEVEL = 4

_TYPES = ("application/json", "application/problem+json", "image/svg+xml")


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header accepts gzip and does not prefer the uncompressed body (RFC 9110)."""
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        weights[coding] = min((_weight(parameter) for parameter in parameters), default=1.0)
    gzip_weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip_weight > 0 and gzip_weight >= weights.get("identity", 0.0)


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def of_request(request: web.Request) -> bool:
    """Whether the client of this request accepts gzip."""
    return accepts_gzip(",".join(request.headers.getall("Accept-Encoding", ())))


def pack(body: bytes, level: int = LEVEL) -> bytes:
    """Compress deterministically: equal bodies give equal bytes, so that a strong ETag is valid."""
    return gzip.compress(body, level, mtime=0)


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Compress responses that are text, long enough, and not compressed already."""
    response = await handler(request)
    if not isinstance(response, web.Response) or response.prepared or "Content-Encoding" in response.headers:
        return response
    body = response.body
    if not isinstance(body, bytes) or not response.content_type.startswith(("text/", *_TYPES)):
        return response
    if "Vary" not in response.headers:
        response.headers["Vary"] = "Accept-Encoding"
    if len(body) >= MIN_BYTES and of_request(request):
        response.body = await asyncio.to_thread(pack, body) if len(body) >= THREAD_BYTES else pack(body)
        response.headers["Content-Encoding"] = "gzip"
    return response


def install(app: web.Application) -> None:
    """Install the middleware around all others, so that their responses are compressed too."""
    app.middlewares.insert(0, middleware)
