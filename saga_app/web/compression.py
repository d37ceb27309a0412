"""Answers packed with gzip, for clients that accept it: a page of 500 sagas is a twentieth as long.

Not the event stream: each event has to leave at once.
"""

import asyncio
import gzip

from aiohttp import web

from saga_app.web.problem import Handler

#: Shorter bodies gain nothing; longer ones are packed in a thread, as that takes milliseconds (bytes).
SHORTEST, LONG = 1024, 32_768

#: 1 to 9. 4 packs JSON to within a tenth of what 9 does, in a quarter of the time.
LEVEL = 4

_TYPES = ("application/json", "application/problem+json", "image/svg+xml")


def accepts_gzip(header: str) -> bool:
    """Whether a client that sends this Accept-Encoding takes gzip, and does not prefer the body as it is (RFC 9110)."""
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        weights[coding] = min((_weight(parameter) for parameter in parameters), default=1.0)
    packed = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return packed > 0 and packed >= weights.get("identity", 0.0)


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def of_request(request: web.Request) -> bool:
    """Whether the client of this request takes gzip."""
    return accepts_gzip(",".join(request.headers.getall("Accept-Encoding", ())))


def pack(body: bytes, level: int = LEVEL) -> bytes:
    """The same bytes for the same body: a strong ETag may stand for them."""
    return gzip.compress(body, level, mtime=0)


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Packs what is text, long enough, and not packed already."""
    response = await handler(request)
    if not isinstance(response, web.Response) or response.prepared or "Content-Encoding" in response.headers:
        return response
    body = response.body
    if not isinstance(body, bytes) or not response.content_type.startswith(("text/", *_TYPES)):
        return response
    if "Vary" not in response.headers:
        response.headers["Vary"] = "Accept-Encoding"
    if len(body) >= SHORTEST and of_request(request):
        response.body = await asyncio.to_thread(pack, body) if len(body) >= LONG else pack(body)
        response.headers["Content-Encoding"] = "gzip"
    return response


def install(app: web.Application) -> None:
    """Around all other middlewares, so that their answers are packed too."""
    app.middlewares.insert(0, middleware)
