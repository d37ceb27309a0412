"""A browser shows the token once; the cookie that it gets lets it read, and lets our own page change things."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from saga_app.console.http import sign_in
from saga_app.web.guard import MAX_WRONG_TOKENS
from saga_app.web.session import COOKIE, LIFETIME_S, Sessions
from tests.web_server import Rules, problem_of, serving

pytestmark = pytest.mark.field(27)

TOKEN = SecretStr("open-sesame")
OUTSIDE = Rules("0.0.0.0", TOKEN, (ip_network("192.0.2.0/24"),))


async def fine(_request: web.Request) -> web.Response:
    """Answered when the guard lets it."""
    return web.Response(text="fine")


def routes(app: web.Application) -> None:
    """The session's, and one that is guarded."""
    app.router.add_get("/api/session", sign_in.show)
    app.router.add_post("/api/session", sign_in.sign_in)
    app.router.add_delete("/api/session", sign_in.sign_out)
    app.router.add_get("/x", fine)
    app.router.add_post("/x", fine)


def own(client: Any) -> dict[str, str]:
    """The origin of a page that this server has served."""
    return {"Origin": f"http://{client.host}:{client.port}"}


async def access(client: Any) -> tuple[bool, bool, bool]:
    """May read, may change, could show a token."""
    answer = await (await client.get("/api/session")).json()
    return answer["read"], answer["change"], answer["token"]


async def test_a_browser_signs_in_reads_changes_and_signs_out(now: Callable[[str], None]) -> None:
    async with serving(routes, OUTSIDE) as client:
        assert await access(client) == (False, False, True)
        before = (await client.get("/x")).status
        answer = await client.post("/api/session", json={"token": "open-sesame"}, headers=own(client))
        assert (answer.status, await answer.json()) == (200, {"read": True, "change": True, "token": True})
        assert await access(client) == (True, True, True)
        now(f"{before} without a token, {(await client.get('/x')).status} signed in")
        assert (await client.get("/x")).status == 200
        assert (await client.post("/x", headers=own(client))).status == 200
        assert (await client.delete("/api/session", headers=own(client))).status == 204
        assert (await client.get("/x")).status == 401


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    async with serving(routes, OUTSIDE) as client:
        answer = await client.post("/api/session", json={"token": "open-sesame"})
        cookie = answer.cookies[COOKIE]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
        assert int(cookie["max-age"]) == LIFETIME_S
        assert not cookie["secure"]
        assert "open-sesame" not in cookie.value


async def test_the_cookie_of_a_page_that_came_over_tls_is_sent_over_tls_only() -> None:
    rules = Rules(token=TOKEN, public_url=("https://saga.example.com",))
    async with serving(routes, rules) as client:
        headers = {"Origin": "https://saga.example.com"}
        answer = await client.post("/api/session", json={"token": "open-sesame"}, headers=headers)
        assert answer.cookies[COOKIE]["secure"]


async def test_the_cookie_changes_nothing_without_our_pages_origin() -> None:
    async with serving(routes, OUTSIDE) as client:
        await client.post("/api/session", json={"token": "open-sesame"})
        await problem_of(await client.post("/x"), 401)
        await problem_of(await client.post("/x", headers={"Origin": "https://evil.example"}), 403)
        await problem_of(await client.post("/x", headers=own(client) | {"Sec-Fetch-Site": "same-site"}), 403)


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
async def test_a_wrong_token_or_body_is_refused_in_a_sentence(body: Any, status: int) -> None:
    async with serving(routes, OUTSIDE) as client:
        answer = await client.post("/api/session", json=body)
        assert "open-sesame" not in str(await problem_of(answer, status))
        assert COOKIE not in answer.cookies


async def test_only_json_signs_in_so_that_no_form_can() -> None:
    async with serving(routes, OUTSIDE) as client:
        await problem_of(await client.post("/api/session", data={"token": "open-sesame"}), 415)
        await problem_of(
            await client.post("/api/session", json={"token": "open-sesame"}, headers={"Origin": "null"}), 403
        )


async def test_tokens_are_not_guessed_by_signing_in() -> None:
    async with serving(routes, OUTSIDE) as client:
        for _ in range(MAX_WRONG_TOKENS):
            await problem_of(await client.post("/api/session", json={"token": "guess"}), 401)
        await problem_of(await client.post("/api/session", json={"token": "guess"}), 429)
        assert (await client.post("/api/session", json={"token": "open-sesame"})).status == 200


async def test_where_no_token_is_set_nobody_can_sign_in() -> None:
    async with serving(routes, Rules("0.0.0.0", None, OUTSIDE.trusted)) as client:
        assert await access(client) == (False, False, False)
        await problem_of(await client.post("/api/session", json={"token": "open-sesame"}), 403)


async def test_a_client_of_a_trusted_network_may_do_everything_without_signing_in() -> None:
    async with serving(routes, Rules()) as client:
        assert await access(client) == (True, True, False)


def test_a_session_ends_after_its_time_and_with_its_token() -> None:
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
def test_a_forged_session_is_none(change: Callable[[str], str]) -> None:
    sessions = Sessions(TOKEN)
    assert not sessions.is_valid(change(sessions.issue()))
