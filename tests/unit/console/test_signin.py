"""Signing in: a browser sends the token once, and receives a cookie for reading and for changes by the page."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pydantic import SecretStr

from saga_app.console.http import sign_in
from saga_app.web.guard import MAX_WRONG_TOKENS
from saga_app.web.session import COOKIE, LIFETIME_S, Sessions
from tests.web_server import Rules, problem_of, serving

pytestmark = pytest.mark.field(27)

Client = TestClient[web.Request, web.Application]

TOKEN = SecretStr("open-sesame")

#: Settings with which the client of a test is not in a trusted network.
UNTRUSTED = Rules("0.0.0.0", TOKEN, (ip_network("192.0.2.0/24"),))


async def respond(_request: web.Request) -> web.Response:
    """The response of a protected resource."""
    return web.Response(text="fine")


def add_routes(app: web.Application) -> None:
    """Add the routes of the session, and a protected one."""
    app.router.add_get("/api/session", sign_in.show)
    app.router.add_post("/api/session", sign_in.sign_in)
    app.router.add_delete("/api/session", sign_in.sign_out)
    app.router.add_get("/x", respond)
    app.router.add_post("/x", respond)


def own_origin(client: Client) -> dict[str, str]:
    """The Origin header of a page that this server has served."""
    return {"Origin": f"http://{client.host}:{client.port}"}


async def access_of(client: Client) -> tuple[bool, bool, bool]:
    """What the API returns: whether the client may read and change, and whether a token is configured."""
    body = await (await client.get("/api/session")).json()
    return body["read"], body["change"], body["token"]


async def test_a_browser_may_read_and_change_until_it_signs_out(now: Callable[[str], None]) -> None:
    async with serving(add_routes, UNTRUSTED) as client:
        assert await access_of(client) == (False, False, True)
        status = (await client.get("/x")).status
        response = await client.post("/api/session", json={"token": "open-sesame"}, headers=own_origin(client))
        assert (response.status, await response.json()) == (200, {"read": True, "change": True, "token": True})
        assert await access_of(client) == (True, True, True)
        now(f"{status} without a token, {(await client.get('/x')).status} signed in")
        assert (await client.get("/x")).status == 200
        assert (await client.post("/x", headers=own_origin(client))).status == 200
        assert (await client.delete("/api/session", headers=own_origin(client))).status == 204
        assert (await client.get("/x")).status == 401


async def test_the_cookie_is_http_only_and_bound_to_the_site() -> None:
    async with serving(add_routes, UNTRUSTED) as client:
        response = await client.post("/api/session", json={"token": "open-sesame"})
        cookie = response.cookies[COOKIE]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
        assert int(cookie["max-age"]) == LIFETIME_S
        assert not cookie["secure"]
        assert "open-sesame" not in cookie.value


async def test_the_cookie_of_a_page_over_tls_is_secure() -> None:
    rules = Rules(token=TOKEN, public_url=("https://saga.example.com",))
    async with serving(add_routes, rules) as client:
        headers = {"Origin": "https://saga.example.com"}
        response = await client.post("/api/session", json={"token": "open-sesame"}, headers=headers)
        assert response.cookies[COOKIE]["secure"]


async def test_the_cookie_allows_changes_only_from_the_consoles_page() -> None:
    async with serving(add_routes, UNTRUSTED) as client:
        await client.post("/api/session", json={"token": "open-sesame"})
        await problem_of(await client.post("/x"), 401)
        await problem_of(await client.post("/x", headers={"Origin": "https://evil.example"}), 403)
        await problem_of(await client.post("/x", headers=own_origin(client) | {"Sec-Fetch-Site": "same-site"}), 403)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"token": "wrong"}, 401),
        ({"token": "öpen-sesame"}, 401),
        ({"token": "a\0b"}, 401),
        ({"token": ""}, 422),
        ({"token": "x" * 1001}, 422),
        ({"token": 7}, 422),
        ({}, 422),
        ([], 422),
        ("open-sesame", 422),
        ({"token": "open-sesame", "x": 1}, 422),
        ({"token": "x" * 9000}, 413),
    ],
)
async def test_a_wrong_token_or_body_is_refused(body: Any, status: int) -> None:
    async with serving(add_routes, UNTRUSTED) as client:
        response = await client.post("/api/session", json=body)
        assert "open-sesame" not in str(await problem_of(response, status))
        assert COOKIE not in response.cookies


async def test_forms_and_opaque_origins_cannot_sign_in() -> None:
    async with serving(add_routes, UNTRUSTED) as client:
        await problem_of(await client.post("/api/session", data={"token": "open-sesame"}), 415)
        await problem_of(
            await client.post("/api/session", json={"token": "open-sesame"}, headers={"Origin": "null"}), 403
        )


async def test_wrong_tokens_are_limited_and_the_right_one_still_works() -> None:
    async with serving(add_routes, UNTRUSTED) as client:
        for _ in range(MAX_WRONG_TOKENS):
            await problem_of(await client.post("/api/session", json={"token": "guess"}), 401)
        await problem_of(await client.post("/api/session", json={"token": "guess"}), 429)
        assert (await client.post("/api/session", json={"token": "open-sesame"})).status == 200


async def test_without_a_configured_token_signing_in_is_refused() -> None:
    async with serving(add_routes, Rules("0.0.0.0", None, UNTRUSTED.trusted)) as client:
        assert await access_of(client) == (False, False, False)
        await problem_of(await client.post("/api/session", json={"token": "open-sesame"}), 403)


async def test_a_client_of_a_trusted_network_does_not_need_to_sign_in() -> None:
    async with serving(add_routes, Rules()) as client:
        assert await access_of(client) == (True, True, False)


def test_a_session_ends_after_its_lifetime_or_with_another_token() -> None:
    times = [1000.0]
    sessions = Sessions(TOKEN, lambda: times[0])
    value = sessions.issue()
    assert sessions.is_valid(value)
    assert Sessions(TOKEN, lambda: times[0]).is_valid(value)
    assert not Sessions(SecretStr("another-token"), lambda: times[0]).is_valid(value)
    times[0] += LIFETIME_S
    assert not sessions.is_valid(value)


@pytest.mark.parametrize(
    "change", [lambda v: "9" + v, lambda v: v[:-1], lambda v: v + "0", lambda v: "", lambda v: "é.ü"]
)
def test_a_forged_session_is_invalid(change: Callable[[str], str]) -> None:
    sessions = Sessions(TOKEN)
    assert not sessions.is_valid(change(sessions.issue()))
