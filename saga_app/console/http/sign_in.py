"""`/api/session`: a browser shows the token once and gets a cookie, which its event stream can send too."""

from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from saga_app.web import body
from saga_app.web.guard import GUARD
from saga_app.web.problem import Fault, Problem
from saga_app.web.session import COOKIE, LIFETIME_S

#: More than any token is long (bytes).
LONGEST_BODY = 8192


class Credentials(BaseModel):
    """What a browser shows to be let in."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[SecretStr, Field(min_length=1, max_length=1000, description="that of SAGA_TOKEN")]


class Session(BaseModel):
    """What this client may do."""

    read: bool
    change: bool = Field(description="from the console's own page")
    token: bool = Field(description="whether there is a token that would let it do everything")


async def show(request: web.Request) -> web.Response:
    """What this client may do, and whether a token would help."""
    return _answer(request.app[GUARD].access(request))


async def sign_in(request: web.Request) -> web.Response:
    """Exchange the token for a session cookie."""
    given = await _credentials(request)
    value = request.app[GUARD].open_session(request, given.token.get_secret_value())
    answer = _answer({"read": True, "change": True, "token": True})
    answer.set_cookie(COOKIE, value, max_age=LIFETIME_S, path="/", **_flags(request))
    return answer


async def sign_out(request: web.Request) -> web.Response:
    """Forget the session cookie."""
    answer = web.Response(status=204)
    answer.del_cookie(COOKIE, path="/", **_flags(request))
    return answer


async def _credentials(request: web.Request) -> Credentials:
    try:
        return Credentials.model_validate(await body.read_json(request, LONGEST_BODY))
    except ValidationError as error:
        faults: list[Fault] = [
            {"index": None, "field": ".".join(map(str, each["loc"])) or None, "message": each["msg"]}
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise Problem(422, 'the body is not {"token": "…"}', errors=faults) from None


def _flags(request: web.Request) -> dict[str, Any]:
    """Out of reach of scripts and of other sites; over TLS, where the page came that way."""
    origin = request.headers.get("Origin", "").lower()
    secure = origin.startswith("https://") or request.app[GUARD].source_of(request).scheme == "https"
    return {"httponly": True, "samesite": "Strict", "secure": secure}


def _answer(access: dict[str, bool]) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=orjson.dumps(access), content_type="application/json", headers=headers)
