"""Access control: clients on this machine and with the token are allowed, pages of other origins are not."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pydantic import SecretStr
from yarl import URL

from saga_app.web.forwarding import PROXY_HEADERS
from saga_app.web.guard import MAX_WRONG_TOKENS
from tests.web_server import Rules, post_bytes, problem_of, serving

#: Trusted networks to which no client of the tests belongs.
NO_TRUSTED_CLIENTS = (ip_network("192.0.2.0/24"),)
TOKEN = SecretStr("open-sesame")


async def handler(_request: web.Request) -> web.Response:
    return web.Response(text="allowed")


def routes(app: web.Application) -> None:
    """Add a route that reads and one that changes something."""
    app.router.add_get("/x", handler)
    app.router.add_post("/x", handler)


async def test_a_client_on_this_machine_needs_no_token() -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        assert (await client.post("/x")).status == 200


#: The headers of a request with the token.
WITH_TOKEN = {"Authorization": "Bearer open-sesame"}
#: Rules for clients of another network, for which a token is set.
REMOTE = Rules("0.0.0.0", TOKEN, NO_TRUSTED_CLIENTS)


@pytest.mark.field(27)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
async def test_a_client_of_another_network_needs_the_token(method: str, now: Callable[[str], None]) -> None:
    async with serving(routes, REMOTE) as client:
        response = await client.request(method, "/x")
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        now(f"{response.status} without the token")
        assert (await client.request(method, "/x", headers=WITH_TOKEN)).status in (200, 405)


@pytest.mark.field(27)
async def test_without_a_token_a_remote_client_gets_403_with_the_remedy() -> None:
    async with serving(routes, Rules("0.0.0.0", None, NO_TRUSTED_CLIENTS)) as client:
        for request in (client.get("/x"), client.post("/x"), client.post("/x", headers={"Authorization": "Bearer "})):
            assert "set SAGA_TOKEN" in (await problem_of(await request, 403))["detail"]


@pytest.mark.field(27)
async def test_only_health_metrics_documents_and_the_page_are_public() -> None:
    def all_routes(app: web.Application) -> None:
        for path in (
            *PUBLIC_PATHS,
            "/api/sagas",
            "/sagas/",
            "/sagas/{id}",
            "/pages",
            "/page",
            "/healthy",
            "/metrics/x",
        ):
            app.router.add_get(path, handler)

    async with serving(all_routes, REMOTE) as client:
        for path in PUBLIC_PATHS:
            assert (await client.get(path)).status == 200, path
        for path in ("/api/sagas", "/sagas/", "/sagas/ada", "/pages", "/page", "/healthy", "/metrics/x", "/no-such"):
            assert (await client.get(path)).status == 401, path
        for path in ("/page/../api/sagas", "/page/%2e%2e/api/sagas", "/METRICS", "/api/sagas?/page/"):
            assert (await client.get(URL(path, encoded=True))).status in (401, 404), path


PUBLIC_PATHS = (
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
async def test_a_public_console_needs_the_token_only_for_changes() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN, NO_TRUSTED_CLIENTS, public=True)) as client:
        assert (await client.get("/x")).status == 200
        await problem_of(await client.post("/x"), 401)
        assert (await client.post("/x", headers=WITH_TOKEN)).status == 200


@pytest.mark.parametrize("credentials", ["Bearer wrong", "Digest open-sesame", "open-sesame", "Bearer", "Bearer öpen"])
async def test_a_wrong_token_is_refused_on_this_machine_too(credentials: str) -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        await problem_of(await client.post("/x", headers={"Authorization": credentials}), 401)


async def test_a_token_that_is_not_utf_8_is_wrong() -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        await problem_of(await post_bytes(client, "/x", {}, {"Authorization": b"Bearer \xff"}), 401)


async def test_wrong_tokens_are_rate_limited_and_the_right_one_is_not() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN, NO_TRUSTED_CLIENTS)) as client:
        for number in range(MAX_WRONG_TOKENS):
            await problem_of(await client.post("/x", headers={"Authorization": f"Bearer guess {number}"}), 401)
        response = await client.post("/x", headers={"Authorization": "Bearer guess"})
        await problem_of(response, 429)
        assert response.headers["Retry-After"]
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
async def test_a_page_of_another_origin_may_read_but_not_change(headers: dict[str, str]) -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        await problem_of(await client.post("/x", headers=headers), 403)
        await problem_of(await client.post("/x", headers=headers | {"Authorization": "Bearer open-sesame"}), 403)
        assert (await client.get("/x", headers=headers)).status == 200


async def test_our_own_page_may_change() -> None:
    async with serving(routes) as client:
        own = f"http://{client.host}:{client.port}"
        assert (await client.post("/x", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"})).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "a.localhost.example"])
async def test_a_foreign_host_name_that_resolves_to_this_machine_is_refused(host: str) -> None:
    async with serving(routes) as client:
        await problem_of(await client.get("/x", headers={"Host": host}), 403)
        await problem_of(await client.post("/x", headers={"Host": host, "Origin": f"http://{host}"}), 403)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "saga.localhost", "console:8080"]
)
async def test_host_names_that_cannot_be_registered_are_accepted(host: str) -> None:
    async with serving(routes) as client:
        assert (await client.post("/x", headers={"Host": host})).status == 200


async def test_a_client_trusted_by_its_address_cannot_use_a_foreign_host_name() -> None:
    async with serving(routes, Rules("0.0.0.0", TOKEN)) as client:
        headers = {"Host": "console.example.com"}
        await problem_of(await client.get("/x", headers=headers), 403)
        await problem_of(await client.post("/x", headers=headers), 403)
        assert (await client.get("/x", headers=headers | WITH_TOKEN)).status == 200
        assert (await client.post("/x", headers=headers | WITH_TOKEN)).status == 200


async def test_basic_credentials_for_a_proxy_are_ignored() -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        assert (await client.get("/x", headers={"Authorization": "Basic b3Blbg=="})).status == 200


# -- behind a reverse proxy on this machine

PUBLIC_URL = "https://saga.example.com"
TRUSTED_PROXY = Rules(token=TOKEN, public_url=(PUBLIC_URL,), proxies=(ip_network("127.0.0.1"),))
UNTRUSTED_PROXY = Rules(token=TOKEN, public_url=(PUBLIC_URL,))
#: Headers by which a proxy names a client on this machine, and one of another network.
LOCAL_CLIENT, REMOTE_CLIENT = {"X-Forwarded-For": "127.0.0.9"}, {"X-Forwarded-For": "192.0.2.9"}
#: The header of a proxy that passes the host on, and those of our page.
ORIGINAL_HOST, OUR_PAGE = {"Host": "saga.example.com"}, {"Origin": PUBLIC_URL, "Sec-Fetch-Site": "same-origin"}


@pytest.mark.field(26)
@pytest.mark.parametrize("header", PROXY_HEADERS)
async def test_requests_through_an_untrusted_proxy_need_the_token(header: str, now: Callable[[str], None]) -> None:
    async with serving(routes, Rules(token=TOKEN)) as client:
        for value in ("127.0.0.1", "for=127.0.0.1"):
            response = await client.post("/x", headers={header: value})
            await problem_of(response, 401)
            await problem_of(await client.get("/x", headers={header: value}), 401)
            assert (await client.post("/x", headers={header: value} | WITH_TOKEN)).status == 200
        now(f"{response.status} through a proxy that is not trusted")


@pytest.mark.field(26)
@pytest.mark.parametrize("rules", [TRUSTED_PROXY, UNTRUSTED_PROXY, Rules(token=TOKEN)])
async def test_a_change_over_http_1_0_needs_an_origin_or_the_token(rules: Rules) -> None:
    async with serving(routes, rules) as client:
        assert (await send_http_1_0(client, "POST", "Host: 127.0.0.1")).startswith("HTTP/1.0 401")
        assert (await send_http_1_0(client, "POST")).startswith("HTTP/1.0 401")
        assert (await send_http_1_0(client, "GET", "Host: 127.0.0.1")).startswith("HTTP/1.0 200")


@pytest.mark.field(26)
@pytest.mark.parametrize(
    ("rules", "headers"),
    [
        (UNTRUSTED_PROXY, {}),
        (UNTRUSTED_PROXY, ORIGINAL_HOST),
        (TRUSTED_PROXY, {}),
        (TRUSTED_PROXY, ORIGINAL_HOST),
        (TRUSTED_PROXY, LOCAL_CLIENT),
        (TRUSTED_PROXY, LOCAL_CLIENT | ORIGINAL_HOST),
        (TRUSTED_PROXY, LOCAL_CLIENT | {"X-Forwarded-Host": "saga.example.com", "X-Forwarded-Proto": "https"}),
        (TRUSTED_PROXY, {"Forwarded": "for=127.0.0.9;host=saga.example.com;proto=https"}),
        (TRUSTED_PROXY, LOCAL_CLIENT | {"Host": "SAGA.example.com.:443"}),
    ],
)
async def test_behind_a_proxy_only_our_page_may_change_without_the_token(rules: Rules, headers: dict[str, str]) -> None:
    async with serving(routes, rules) as client:
        assert (await client.get("/x", headers=headers)).status == 200
        assert (await client.post("/x", headers=headers | OUR_PAGE)).status == 200
        await problem_of(await client.post("/x", headers=headers), 401)
        assert (await client.post("/x", headers=headers | WITH_TOKEN)).status == 200


@pytest.mark.field(26)
async def test_a_remote_client_behind_a_proxy_needs_the_token() -> None:
    async with serving(routes, TRUSTED_PROXY) as client:
        for headers in (REMOTE_CLIENT, REMOTE_CLIENT | ORIGINAL_HOST, {"X-Forwarded-For": "127.0.0.9, 192.0.2.9"}):
            await problem_of(await client.get("/x", headers=headers), 401)
            await problem_of(await client.post("/x", headers=headers | OUR_PAGE), 401)
            assert (await client.post("/x", headers=headers | OUR_PAGE | WITH_TOKEN)).status == 200


@pytest.mark.field(26)
async def test_without_a_token_a_change_through_a_proxy_is_a_403_with_remedy() -> None:
    async with serving(routes, Rules(public_url=(PUBLIC_URL,))) as client:
        assert "SAGA_TOKEN" in (await problem_of(await client.post("/x"), 403))["detail"]
        assert (await client.post("/x", headers=OUR_PAGE)).status == 200


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
async def test_an_origin_other_than_the_public_url_may_not_change(origin: str, host: str) -> None:
    async with serving(routes, TRUSTED_PROXY) as client:
        for token in ({}, WITH_TOKEN):
            headers = {"Origin": origin, "Host": host} | LOCAL_CLIENT | token
            await problem_of(await client.post("/x", headers=headers), 403)


@pytest.mark.field(26)
@pytest.mark.parametrize(
    "origin", ["HTTPS://SAGA.EXAMPLE.COM", "https://saga.example.com.", "https://saga.example.com:443"]
)
async def test_equivalent_spellings_of_the_origin_are_accepted(origin: str) -> None:
    async with serving(routes, TRUSTED_PROXY) as client:
        assert (await client.post("/x", headers=ORIGINAL_HOST | {"Origin": origin})).status == 200


@pytest.mark.field(26)
async def test_the_origin_needs_the_scheme_that_a_trusted_proxy_names() -> None:
    rules = Rules(token=TOKEN, proxies=(ip_network("127.0.0.1"),))
    async with serving(routes, rules) as client:
        secure = LOCAL_CLIENT | {"X-Forwarded-Host": "[::1]:8443", "X-Forwarded-Proto": "https"}
        assert (await client.post("/x", headers=secure | {"Origin": "https://[::1]:8443"})).status == 200
        await problem_of(await client.post("/x", headers=secure | {"Origin": "http://[::1]:8443"}), 403)


@pytest.mark.field(26)
@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host"])
async def test_dns_rebinding_is_refused_behind_a_proxy_too(header: str) -> None:
    async with serving(routes, TRUSTED_PROXY) as client:
        rebound = LOCAL_CLIENT | {header: "evil.example"}
        await problem_of(await client.get("/x", headers=rebound), 403)
        await problem_of(await client.post("/x", headers=rebound | {"Origin": "http://evil.example"}), 403)


async def send_http_1_0(client: TestClient[Any, Any], method: str, *headers: str) -> str:
    """Send a request without the headers that HTTP/1.1 requires. Returns the status line."""
    reader, writer = await asyncio.open_connection(str(client.host), client.port)
    writer.write("\r\n".join([f"{method} /x HTTP/1.0", *headers, "", ""]).encode())
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    return line.decode()
