"""The console behind a real nginx, configured as documented, with default headers, or passing the client's `Host`."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest

from saga_app.local.broker import Broker
from saga_app.service.kafka.topics import TOPICS
from tests import nginx
from tests.console_server import EventStream, running, write
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.web_server import problem_of

pytestmark = pytest.mark.field(26)

SAGA = "https://saga.example.com"
#: Passes the `Host` header of the client on.
HOST_KEPT = nginx.simple("proxy_set_header Host $host;")
ADA = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}
#: Headers of a browser that shows the page of the console.
FROM_THE_PAGE = {"Origin": SAGA, "Sec-Fetch-Site": "same-origin"}
VALID_TOKEN = {"Authorization": "Bearer open-sesame"}

#: The settings in docs/how-to/secure-access.md, and without the proxy's address.
DOCUMENTED = {"public_url": SAGA, "proxies": "127.0.0.1", "token": "open-sesame"}
WITHOUT_PROXY = {"public_url": SAGA, "token": "open-sesame"}


@pytest.fixture(autouse=True)
def needs_nginx() -> None:
    """Skip the tests of this module if nginx is missing."""
    if reason := nginx.missing():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """HOST:PORT of an embedded broker for this module."""
    with Broker(topics=dict.fromkeys(TOPICS, PARTITIONS)) as broker:
        yield broker.bootstrap


class Browser:
    """Sends requests to the public host name of the console, through nginx."""

    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self.http, self.url = http, f"https://127.0.0.1:{port}"

    def request(self, method: str, path: str, **options: Any) -> Any:
        """A request of aiohttp, for `async with`; `options` are those of `ClientSession.request`."""
        headers = {"Host": "saga.example.com"} | options.pop("headers", {})
        return self.http.request(method, self.url + path, ssl=False, headers=headers, **options)

    async def status(self, method: str, path: str, **options: Any) -> int:
        """Send a request; return the status code."""
        async with self.request(method, path, **options) as answer:
            return int(answer.status)


@asynccontextmanager
async def behind_nginx(
    bootstrap: str, folder: Path, server: str, client: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[Browser]:
    """Run a console behind nginx. Yields a browser whose requests come from the address `client`."""
    async with running(bootstrap, **settings) as console:
        await console.wait_until_ready()
        console_port = console.client.port
        assert console_port is not None
        with nginx.running(folder, server, console_port) as port:
            connector = aiohttp.TCPConnector(local_addr=(client, 0))
            async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
                yield Browser(http, port)


@pytest.mark.parametrize(
    ("server", "settings"),
    [
        pytest.param(nginx.documented(), DOCUMENTED, id="documented"),
        pytest.param(nginx.simple(), WITHOUT_PROXY, id="default headers"),
        pytest.param(HOST_KEPT, WITHOUT_PROXY, id="Host kept"),
        pytest.param(nginx.simple(), DOCUMENTED, id="default headers, proxy named"),
        pytest.param(HOST_KEPT, DOCUMENTED, id="Host kept, proxy named"),
    ],
)
async def test_only_the_page_and_clients_with_the_token_change_anything(
    bootstrap: str, tmp_path: Path, server: str, settings: dict[str, Any], now: Callable[[str], None]
) -> None:
    async with behind_nginx(bootstrap, tmp_path, server, **settings) as browser:
        assert await browser.status("GET", "/") == 200
        assert await browser.status("GET", "/api/sagas") == 200
        from_page = await browser.status("POST", "/api/users", json=ADA, headers=FROM_THE_PAGE)
        async with browser.request("POST", "/api/users", json=ADA) as answer:
            await problem_of(answer, 401)
            now(f"the page {from_page}, without origin and token {answer.status}")
        assert from_page == 202
        assert await browser.status("POST", "/api/users", json=ADA, headers=VALID_TOKEN) == 202
        assert (
            await browser.status(
                "POST", "/api/users", json=ADA, headers=VALID_TOKEN | {"Origin": "https://evil.example"}
            )
            == 403
        )


@pytest.mark.field(27)
async def test_a_client_from_another_network_signs_in_through_nginx(bootstrap: str, tmp_path: Path) -> None:
    settings = DOCUMENTED | {"trusted": "127.0.0.1/32"}
    spoofed = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X-Real-IP": "127.0.0.1"}
    async with behind_nginx(bootstrap, tmp_path, nginx.documented(), "127.0.0.2", **settings) as browser:
        assert await browser.status("GET", "/") == 200
        for headers in ({}, spoofed):
            assert await browser.status("GET", "/api/sagas", headers=headers) == 401
            assert await browser.status("GET", "/api/stream", headers=headers) == 401
            assert await browser.status("POST", "/api/users", json=ADA, headers=headers | FROM_THE_PAGE) == 401
        async with browser.request(
            "POST", "/api/session", json={"token": "open-sesame"}, headers=FROM_THE_PAGE
        ) as answer:
            assert answer.status == 200
            cookie = answer.cookies["saga_session"]
            assert cookie["secure"]
        signed_in = {"Cookie": f"saga_session={cookie.value}"}
        assert await browser.status("GET", "/api/sagas", headers=signed_in) == 200
        assert await browser.status("POST", "/api/users", json=ADA, headers=signed_in | FROM_THE_PAGE) == 202
        assert await browser.status("POST", "/api/users", json=ADA, headers=signed_in) == 401


@pytest.mark.parametrize("server", [nginx.documented(), nginx.simple()], ids=["documented", "default headers"])
async def test_events_pass_nginx_without_delay(bootstrap: str, tmp_path: Path, server: str) -> None:
    async with (
        behind_nginx(bootstrap, tmp_path, server, **DOCUMENTED) as browser,
        browser.request("GET", "/api/stream") as answer,
    ):
        assert answer.content_type == "text/event-stream"
        line = EventStream(answer.content)
        await line.next("stats")
        logs, id = FakeTopics(), secrets.token_hex(4)
        logs.run_saga(id, pace=0.01)
        began = monotonic()
        await write(bootstrap, logs)
        _, _, data = await line.next("saga")
        assert data["id"] == id
        assert monotonic() - began < 5


async def test_nginx_passes_ten_megabytes_and_hides_the_metrics(bootstrap: str, tmp_path: Path) -> None:
    body = json.dumps([ADA | {"name": "x" * 300}]).encode()
    body += b" " * (10 * 1024 * 1024 - len(body))
    async with behind_nginx(bootstrap, tmp_path, nginx.documented(), **DOCUMENTED) as browser:
        headers = VALID_TOKEN | {"Content-Type": "application/json"}
        async with asyncio.timeout(60), browser.request("POST", "/api/users", data=body, headers=headers) as answer:
            await problem_of(answer, 422)
        assert await browser.status("GET", "/metrics") == 404
