"""Who may change things: people at this machine and holders of the token, and no page of another site."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr
from yarl import URL

from saga_app.web.forwarding import PROXY_HEADERS
from saga_app.web.guard import MAX_WRONG_TOKENS
from tests.web_server import Rules, post_bytes, problem_of, serving

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


RIGHT = {"Authorization": "Bearer open-sesame"}
WITH_TOKEN = Rules("0.0.0.0", TOKEN, NOBODY)


@pytest.mark.field(27)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
async def test_a_client_of_another_network_needs_the_token_for_everything(
    method: str, now: Callable[[str], None]
) -> None:
    async with serving(routes, WITH_TOKEN) as client:
        answer = await client.request(method, "/x")
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        now(f"{answer.status} without the token")
        assert (await client.request(method, "/x", headers=RIGHT)).status in (200, 405)


@pytest.mark.field(27)
async def test_a_client_of_another_network_is_told_what_to_set_when_no_token_is() -> None:
    async with serving(routes, Rules("0.0.0.0", None, NOBODY)) as client:
        for request in (client.get("/x"), client.post("/x"), client.post("/x", headers={"Authorization": "Bearer "})):
            assert "set SAGA_TOKEN" in (await problem_of(await request, 403))["detail"]


@pytest.mark.field(27)
async def test_health_metrics_and_the_page_are_open_to_everybody_and_nothing_else() -> None:
    def all_routes(app: web.Application) -> None:
        for path in (*OPENED, "/api/sagas", "/sagas/", "/sagas/{id}", "/pages", "/page", "/healthy", "/metrics/x"):
            app.router.add_get(path, fine)

    async with serving(all_routes, WITH_TOKEN) as client:
        for path in OPENED:
            assert (await client.get(path)).status == 200, path
        for path in ("/api/sagas", "/sagas/", "/sagas/ada", "/pages", "/page", "/healthy", "/metrics/x", "/no-such"):
            assert (await client.get(path)).status == 401, path
        for path in ("/page/../api/sagas", "/page/%2e%2e/api/sagas", "/METRICS", "/api/sagas?/page/"):
            assert (await client.get(URL(path, encoded=True))).status in (401, 404), path


OPENED = (
    "/",
    "/page/app.js",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/asyncapi.json",
    "/api/plan",
)


@pytest.mark.field(27)
async def test_a_public_console_is_read_by_everybody_and_changed_with_the_token() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN, NOBODY, public=True)) as client:
        assert (await client.get("/x")).status == 200
        await problem_of(await client.post("/x"), 401)
        assert (await client.post("/x", headers=RIGHT)).status == 200


@pytest.mark.parametrize("given", ["Bearer wrong", "Digest open-sesame", "open-sesame", "Bearer", "Bearer öpen"])
async def test_a_wrong_token_is_refused_even_from_here(given: str) -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        await problem_of(await client.post("/x", headers={"Authorization": given}), 401)


async def test_a_token_that_is_no_text_is_wrong() -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        await problem_of(await post_bytes(client, "/x", {}, {"Authorization": b"Bearer \xff"}), 401)


async def test_who_keeps_sending_wrong_tokens_has_to_wait_but_the_right_one_is_always_heard() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN, NOBODY)) as client:
        for number in range(MAX_WRONG_TOKENS):
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


async def test_a_client_that_is_trusted_by_its_address_uses_no_strangers_name() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN)) as client:
        named = {"Host": "console.example.com"}
        await problem_of(await client.get("/x", headers=named), 403)
        await problem_of(await client.post("/x", headers=named), 403)
        assert (await client.get("/x", headers=named | RIGHT)).status == 200
        assert (await client.post("/x", headers=named | RIGHT)).status == 200


async def test_the_password_of_a_proxy_in_front_is_none_of_ours() -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        assert (await client.get("/x", headers={"Authorization": "Basic b3Blbg=="})).status == 200


# -- behind a reverse proxy on this machine

SAGA = "https://saga.example.com"
NAMED = Rules(token=TOKEN, public_url=(SAGA,), proxies=(ip_network("127.0.0.1"),))
ONLY_URL = Rules(token=TOKEN, public_url=(SAGA,))
INSIDE, OUTSIDE = {"X-Forwarded-For": "127.0.0.9"}, {"X-Forwarded-For": "192.0.2.9"}
KEPT, OURS = {"Host": "saga.example.com"}, {"Origin": SAGA, "Sec-Fetch-Site": "same-origin"}


@pytest.mark.field(26)
@pytest.mark.parametrize("sign", PROXY_HEADERS)
async def test_a_proxy_that_is_not_named_has_no_rights(sign: str, now: Callable[[str], None]) -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        for claim in ("127.0.0.1", "for=127.0.0.1"):
            answer = await client.post("/x", headers={sign: claim})
            await problem_of(answer, 401)
            await problem_of(await client.get("/x", headers={sign: claim}), 401)
            assert (await client.post("/x", headers={sign: claim} | RIGHT)).status == 200
        now(f"{answer.status} through a proxy that is not named")


@pytest.mark.field(26)
@pytest.mark.parametrize("rules", [NAMED, ONLY_URL, Rules(token=TOKEN)])
async def test_a_change_over_http_1_0_without_origin_and_token_is_refused(rules: Rules) -> None:
    async with serving(routes, rules) as client:
        assert (await http_1_0(client, "POST", "Host: 127.0.0.1")).startswith("HTTP/1.0 401")
        assert (await http_1_0(client, "POST")).startswith("HTTP/1.0 401")
        assert (await http_1_0(client, "GET", "Host: 127.0.0.1")).startswith("HTTP/1.0 200")


@pytest.mark.field(26)
@pytest.mark.parametrize(
    ("rules", "headers"),
    [
        (ONLY_URL, {}),
        (ONLY_URL, KEPT),
        (NAMED, {}),
        (NAMED, KEPT),
        (NAMED, INSIDE),
        (NAMED, INSIDE | KEPT),
        (NAMED, INSIDE | {"X-Forwarded-Host": "saga.example.com", "X-Forwarded-Proto": "https"}),
        (NAMED, {"Forwarded": "for=127.0.0.9;host=saga.example.com;proto=https"}),
        (NAMED, INSIDE | {"Host": "SAGA.example.com.:443"}),
    ],
)
async def test_behind_a_proxy_our_page_may_change_things_and_nothing_else(
    rules: Rules, headers: dict[str, str]
) -> None:
    async with serving(routes, rules) as client:
        assert (await client.get("/x", headers=headers)).status == 200
        assert (await client.post("/x", headers=headers | OURS)).status == 200
        await problem_of(await client.post("/x", headers=headers), 401)
        assert (await client.post("/x", headers=headers | RIGHT)).status == 200


@pytest.mark.field(26)
async def test_a_client_outside_needs_the_token_behind_a_proxy_too() -> None:
    async with serving(routes, NAMED) as client:
        for headers in (OUTSIDE, OUTSIDE | KEPT, {"X-Forwarded-For": "127.0.0.9, 192.0.2.9"}):
            await problem_of(await client.get("/x", headers=headers), 401)
            await problem_of(await client.post("/x", headers=headers | OURS), 401)
            assert (await client.post("/x", headers=headers | OURS | RIGHT)).status == 200


@pytest.mark.field(26)
async def test_without_a_token_set_a_change_through_a_proxy_says_what_to_do() -> None:
    async with serving(routes, Rules(public_url=(SAGA,))) as client:
        assert "SAGA_TOKEN" in (await problem_of(await client.post("/x"), 403))["detail"]
        assert (await client.post("/x", headers=OURS)).status == 200


@pytest.mark.field(26)
@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://saga.example.com",
        "https://saga.example.com:8443",
        "https://saga.example.com.evil.example",
        "https://evil.example",
        "https://saga.example.com/path",
        "saga.example.com",
        "",
    ],
)
@pytest.mark.parametrize("host", ["saga.example.com", "127.0.0.1"])
async def test_another_origin_than_the_public_one_changes_nothing(origin: str, host: str) -> None:
    async with serving(routes, NAMED) as client:
        for credentials in ({}, RIGHT):
            headers = {"Origin": origin, "Host": host} | INSIDE | credentials
            await problem_of(await client.post("/x", headers=headers), 403)


@pytest.mark.field(26)
@pytest.mark.parametrize(
    "origin", ["HTTPS://SAGA.EXAMPLE.COM", "https://saga.example.com.", "https://saga.example.com:443"]
)
async def test_one_origin_has_many_spellings(origin: str) -> None:
    async with serving(routes, NAMED) as client:
        assert (await client.post("/x", headers=KEPT | {"Origin": origin})).status == 200


@pytest.mark.field(26)
async def test_the_scheme_that_a_named_proxy_says_is_the_pages() -> None:
    rules = Rules(token=TOKEN, proxies=(ip_network("127.0.0.1"),))
    async with serving(routes, rules) as client:
        secure = INSIDE | {"X-Forwarded-Host": "[::1]:8443", "X-Forwarded-Proto": "https"}
        assert (await client.post("/x", headers=secure | {"Origin": "https://[::1]:8443"})).status == 200
        await problem_of(await client.post("/x", headers=secure | {"Origin": "http://[::1]:8443"}), 403)


@pytest.mark.field(26)
@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host"])
async def test_a_page_that_rebinds_its_name_gets_nothing_behind_a_proxy_either(header: str) -> None:
    async with serving(routes, NAMED) as client:
        rebound = INSIDE | {header: "evil.example"}
        await problem_of(await client.get("/x", headers=rebound), 403)
        await problem_of(await client.post("/x", headers=rebound | {"Origin": "http://evil.example"}), 403)


async def http_1_0(client: Any, method: str, *headers: str) -> str:
    """The first line of the answer to a request without what HTTP/1.1 demands."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write("\r\n".join([f"{method} /x HTTP/1.0", *headers, "", ""]).encode())
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    return line.decode()
