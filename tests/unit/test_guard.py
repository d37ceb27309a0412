"""Who may change things: people at this machine and holders of the token, and no page of another site."""

from ipaddress import ip_network

import pytest
from aiohttp import web
from pydantic import SecretStr

from saga_app.service.guard import WRONG_TOKENS
from tests.unit.web import Rules, post_bytes, problem_of, serving

NOBODY = (ip_network("192.0.2.0/24"),)
TOKEN = SecretStr("open-sesame")


async def fine(_request: web.Request) -> web.Response:
    """Answered when the guard lets it."""
    return web.Response(text="fine")


def routes(app: web.Application) -> None:
    """A question and a change."""
    app.router.add_get("/x", fine)
    app.router.add_post("/x", fine)


async def test_a_client_on_this_machine_needs_no_token() -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        assert (await client.post("/x")).status == 200


async def test_a_client_of_another_network_needs_the_token() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN, NOBODY)) as client:
        answer = await client.post("/x")
        await problem_of(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await client.post("/x", headers={"Authorization": "Bearer open-sesame"})).status == 200
        assert (await client.get("/x")).status == 200


async def test_without_a_token_set_no_token_helps() -> None:
    async with serving(routes, Rules("0.0.0.0", None, NOBODY)) as client:
        await problem_of(await client.post("/x", headers={"Authorization": "Bearer "}), 401)


@pytest.mark.parametrize("given", ["Bearer wrong", "Basic open-sesame", "open-sesame", "Bearer", "Bearer öpen"])
async def test_a_wrong_token_is_refused_even_from_here(given: str) -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        await problem_of(await client.post("/x", headers={"Authorization": given}), 401)


async def test_a_token_that_is_no_text_is_wrong() -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        await problem_of(await post_bytes(client, "/x", {}, {"Authorization": b"Bearer \xff"}), 401)


async def test_who_keeps_sending_wrong_tokens_has_to_wait_but_the_right_one_is_always_heard() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN, NOBODY)) as client:
        for number in range(WRONG_TOKENS):
            await problem_of(await client.post("/x", headers={"Authorization": f"Bearer guess {number}"}), 401)
        answer = await client.post("/x", headers={"Authorization": "Bearer guess"})
        await problem_of(answer, 429)
        assert answer.headers["Retry-After"]
        assert (await client.post("/x", headers={"Authorization": "Bearer open-sesame"})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "nonsense://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_origin_may_ask_but_not_change(headers: dict[str, str]) -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        await problem_of(await client.post("/x", headers=headers), 403)
        await problem_of(await client.post("/x", headers=headers | {"Authorization": "Bearer open-sesame"}), 403)
        assert (await client.get("/x", headers=headers)).status == 200


async def test_our_own_page_may_change_things() -> None:
    async with serving(routes) as client:
        own = f"http://{client.host}:{client.port}"
        assert (await client.post("/x", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"})).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "a.localhost.example"])
async def test_a_name_that_somebody_pointed_to_this_machine_gets_nothing(host: str) -> None:
    async with serving(routes) as client:
        await problem_of(await client.get("/x", headers={"Host": host}), 403)
        await problem_of(await client.post("/x", headers={"Host": host, "Origin": f"http://{host}"}), 403)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "saga.localhost", "console:8080"]
)
async def test_names_that_nobody_can_own_are_fine(host: str) -> None:
    async with serving(routes) as client:
        assert (await client.post("/x", headers={"Host": host})).status == 200


async def test_a_server_for_a_network_may_be_asked_by_its_name_but_a_change_by_name_needs_the_token() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN)) as client:
        named = {"Host": "console.example.com"}
        assert (await client.get("/x", headers=named)).status == 200
        await problem_of(await client.post("/x", headers=named), 403)
        assert (await client.post("/x", headers=named | {"Authorization": "Bearer open-sesame"})).status == 200
