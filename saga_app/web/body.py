"""Parses JSON request bodies other than new users."""

from typing import Any

from aiohttp import web

from saga_app.saga import json_text
from saga_app.saga.json_text import NotJson
from saga_app.web import new_users
from saga_app.web.problem import Problem


async def read_json(request: web.Request, max_bytes: int) -> Any:
    """The decoded JSON body.

    Raises `Problem`: 400 if it is not JSON, 413 if it exceeds `max_bytes`, 415 for another media type or encoding.
    """
    if request.content_type != "application/json":
        given = request.headers.get("Content-Type", "nothing")
        raise Problem(415, f"the Content-Type is {given}; send application/json")
    if (charset := (request.charset or "utf-8").lower()) not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, f"the charset is {charset}; send UTF-8")
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in new_users.CONTENT_ENCODINGS:
        close = {"Connection": "close"}
        raise Problem(415, f"the Content-Encoding is {encoding}; send gzip, deflate or none", headers=close)
    try:
        return json_text.loads(await new_users.read_limited(request, max_bytes))
    except NotJson as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
