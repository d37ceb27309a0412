"""The JSON body of a request that is neither a user nor a list of users."""

from typing import Any

import orjson
from aiohttp import web

from saga_app.web import new_users
from saga_app.web.problem import Problem


async def read_json(request: web.Request, most: int) -> Any:
    """What the body holds. Raises `Problem`: 400 not JSON, 413 over `most` bytes, 415 another type or encoding."""
    if request.content_type != "application/json":
        given = request.headers.get("Content-Type", "nothing")
        raise Problem(415, f"the Content-Type is {given}; send application/json")
    if (charset := (request.charset or "utf-8").lower()) not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, f"the charset is {charset}; send UTF-8")
    packed = request.headers.get("Content-Encoding", "").strip().lower()
    if packed not in new_users.PACKED:
        close = {"Connection": "close"}
        raise Problem(415, f"the Content-Encoding is {packed}; send gzip, deflate or none", headers=close)
    try:
        return orjson.loads(await new_users.limited(request, most))
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
