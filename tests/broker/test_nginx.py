"""The console behind a real nginx: as documented, with nginx's default headers, and with the client's Host kept."""

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
KEPT = nginx.simple("proxy_set_header Host $host;")
ADA = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}
OURS = {"Origin": SAGA, "Sec-Fetch-Site": "same-origin"}
RIGHT = {"Authorization": "Bearer open-sesame"}

#: As docs/how-to/secure-access.md says; and with no more than the name of the public host.
FULL = {"public_url": SAGA, "proxies": "127.0.0.1", "token": "open-sesame"}
LEAST = {"public_url": SAGA, "token": "open-sesame"}


@pytest.fixture(autouse=True)
def needs_nginx() -> None:
    """Without it there is nothing to test."""
    if reason := nginx.missing():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """An embedded broker of this module."""
    with Broker(topics=dict.fromkeys(TOPICS, PARTITIONS)) as broker:
        yield broker.bootstrap


class Browser:
    """Asks the console by the name of its public host, through nginx."""

    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self.http, self.url = http, f"https://127.0.0.1:{port}"

    def __call__(self, method: str, path: str, **how: Any) -> Any:
        headers = {"Host": "saga.example.com"} | how.pop("headers", {})
        return self.http.request(method, self.url + path, ssl=False, headers=headers, **how)

    async def status(self, method: str, path: str, **how: Any) -> int:
        """Of the answer."""
        async with self(method, path, **how) as answer:
            return int(answer.status)


@asynccontextmanager
async def behind_nginx(
    bootstrap: str, folder: Path, server: str, client: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[Browser]:
    """A ready console and a browser at the address `client`."""
    async with running(bootstrap, **settings) as console:
        await console.ready()
        with nginx.running(folder, server, console.client.port) as port:
            connector = aiohttp.TCPConnector(local_addr=(client, 0))
            async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
                yield Browser(http, port)


@pytest.mark.parametrize(
    ("server", "settings"),
    [
        pytest.param(nginx.documented(), FULL, id="documented"),
        pytest.param(nginx.simple(), LEAST, id="default headers"),
        pytest.param(KEPT, LEAST, id="Host kept"),
        pytest.param(nginx.simple(), FULL, id="default headers, proxy named"),
        pytest.param(KEPT, FULL, id="Host kept, proxy named"),
    ],
)
async def test_the_page_works_and_nothing_else_changes_anything(
    bootstrap: str, tmp_path: Path, server: str, settings: dict[str, Any], now: Callable[[str], None]
) -> None:
    async with behind_nginx(bootstrap, tmp_path, server, **settings) as ask:
        assert await ask.status("GET", "/") == 200
        assert await ask.status("GET", "/api/sagas") == 200
        works = await ask.status("POST", "/api/users", json=ADA, headers=OURS)
        async with ask("POST", "/api/users", json=ADA) as answer:
            await problem_of(answer, 401)
            now(f"our page {works}, without origin and token {answer.status}")
        assert works == 202
        assert await ask.status("POST", "/api/users", json=ADA, headers=RIGHT) == 202
        assert (
            await ask.status("POST", "/api/users", json=ADA, headers=RIGHT | {"Origin": "https://evil.example"}) == 403
        )


@pytest.mark.field(27)
async def test_a_client_of_another_network_signs_in_through_nginx(bootstrap: str, tmp_path: Path) -> None:
    settings = FULL | {"trusted": "127.0.0.1/32"}
    spoofed = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X-Real-IP": "127.0.0.1"}
    async with behind_nginx(bootstrap, tmp_path, nginx.documented(), "127.0.0.2", **settings) as ask:
        assert await ask.status("GET", "/") == 200
        for headers in ({}, spoofed):
            assert await ask.status("GET", "/api/sagas", headers=headers) == 401
            assert await ask.status("GET", "/api/stream", headers=headers) == 401
            assert await ask.status("POST", "/api/users", json=ADA, headers=headers | OURS) == 401
        async with ask("POST", "/api/session", json={"token": "open-sesame"}, headers=OURS) as answer:
            assert answer.status == 200
            cookie = answer.cookies["saga_session"]
            assert cookie["secure"]
        signed_in = {"Cookie": f"saga_session={cookie.value}"}
        assert await ask.status("GET", "/api/sagas", headers=signed_in) == 200
        assert await ask.status("POST", "/api/users", json=ADA, headers=signed_in | OURS) == 202
        assert await ask.status("POST", "/api/users", json=ADA, headers=signed_in) == 401


@pytest.mark.parametrize("server", [nginx.documented(), nginx.simple()], ids=["documented", "default headers"])
async def test_events_come_through_nginx_as_they_happen(bootstrap: str, tmp_path: Path, server: str) -> None:
    async with behind_nginx(bootstrap, tmp_path, server, **FULL) as ask, ask("GET", "/api/stream") as answer:
        assert answer.content_type == "text/event-stream"
        line = EventStream(answer.content)
        await line.next("stats")
        logs, id = FakeTopics(), secrets.token_hex(4)
        logs.saga(id, pace=0.01)
        began = monotonic()
        await write(bootstrap, logs)
        _, _, data = await line.next("saga")
        assert data["id"] == id
        assert monotonic() - began < 5


async def test_a_list_of_ten_megabytes_passes_and_metrics_do_not(bootstrap: str, tmp_path: Path) -> None:
    body = json.dumps([ADA | {"name": "x" * 300}]).encode()
    body += b" " * (10 * 1024 * 1024 - len(body))
    async with behind_nginx(bootstrap, tmp_path, nginx.documented(), **FULL) as ask:
        headers = RIGHT | {"Content-Type": "application/json"}
        async with asyncio.timeout(60), ask("POST", "/api/users", data=body, headers=headers) as answer:
            await problem_of(answer, 422)
        assert await ask.status("GET", "/metrics") == 404
