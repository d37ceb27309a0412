"""`/api/session`: exchanges the token for a cookie, because a browser's event stream cannot send a token header."""

from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from saga_app.saga import json_text
from saga_app.web import body
from saga_app.web.guard import GUARD
from saga_app.web.problem import Fault, Problem
from saga_app.web.session import COOKIE, LIFETIME_S

#: Larger than a body with the longest token.
MAX_BODY_BYTES = 8192


class Credentials(BaseModel):
    """The body of a sign-in."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[SecretStr, Field(min_length=1, max_length=1000, description="the value of SAGA_TOKEN")]


class Session(BaseModel):
    """The access rights of the client."""

    read: bool
    change: bool = Field(description="whether this client may change data from the console's page")
    token: bool = Field(description="whether full access is possible with a token")


async def show(request: web.Request) -> web.Response:
    """The access rights of this client, and whether a token grants more."""
    return _answer(request.app[GUARD].access(request))


async def sign_in(request: web.Request) -> web.Response:
    """Exchange the token for a session cookie."""
    given = await _credentials(request)
    value = request.app[GUARD].open_session(request, given.token.get_secret_value())
    answer = _answer({"read": True, "change": True, "token": True})
    answer.set_cookie(COOKIE, value, max_age=LIFETIME_S, path="/", **_flags(request))
    return answer


async def sign_out(request: web.Request) -> web.Response:
    """Delete the session cookie."""
    answer = web.Response(status=204)
    answer.del_cookie(COOKIE, path="/", **_flags(request))
    return answer


async def _credentials(request: web.Request) -> Credentials:
    try:
        return Credentials.model_validate(await body.read_json(request, MAX_BODY_BYTES))
    except ValidationError as error:
        faults: list[Fault] = [
            {"index": None, "field": ".".join(map(str, each["loc"])) or None, "message": each["msg"]}
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise Problem(422, 'the body is not {"token": "…"}', errors=faults) from None


def _flags(request: web.Request) -> dict[str, Any]:
    """Cookie flags: no access by scripts or other sites, and only over TLS if the page was loaded over TLS."""
    origin = request.headers.get("Origin", "").lower()
    secure = origin.startswith("https://") or request.app[GUARD].source_of(request).scheme == "https"
    return {"httponly": True, "samesite": "Strict", "secure": secure}


def _answer(access: dict[str, bool]) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=json_text.dumps(access), content_type="application/json", headers=headers)
