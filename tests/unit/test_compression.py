"""Responses to HEAD requests, and gzip for clients that accept it."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from saga_app.web.compression import MIN_BYTES, THREAD_BYTES, accepts_gzip
from saga_app.web.problem import Fault, Problem
from tests.web_server import serving

pytestmark = pytest.mark.field(45)

Client = TestClient[Any, Any]

ROWS = [{"id": f"user-{number}", "name": "Ada Lovelace"} for number in range(1000)]


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, gzip;q=0.2", True),
        ("*", True),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("identity;q=0, *", True),
        ("", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("gzip;q=0.1, identity;q=0.9", False),
        ("gzip;q=x", False),
        ("gzip;q=nan", False),
        ("gzipped", False),
        (";;,,=", False),
    ],
)
def test_gzip_is_used_if_the_client_accepts_and_does_not_disfavour_it(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


@given(st.text())
def test_no_accept_encoding_header_raises_an_error(header: str) -> None:
    accepts_gzip(header)


def routes(app: web.Application) -> None:
    """Add routes with responses of several types and lengths."""

    async def rows(request: web.Request) -> web.Response:
        return web.json_response(ROWS[: int(request.match_info["count"])])

    async def image(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 2000, content_type="image/png")

    async def problem(_request: web.Request) -> web.Response:
        faults: list[Fault] = [{"index": n, "field": "email", "message": "is missing"} for n in range(100)]
        raise Problem(422, "no", errors=faults)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: " + b"x" * 5000 + b"\n\n")
        return response

    app.router.add_get("/rows/{count}", rows)
    app.router.add_get("/image", image)
    app.router.add_get("/problem", problem)
    app.router.add_get("/stream", stream)


async def fetch(
    client: Client, path: str, accept_encoding: str | None, method: str = "GET"
) -> tuple[ClientResponse, bytes]:
    """Send a request. Returns the response, and its body without decompression."""
    headers = {} if accept_encoding is None else {"Accept-Encoding": accept_encoding}
    async with ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as http:
        async with http.request(method, client.make_url(path), headers=headers) as response:
            return response, await response.read()


@pytest.mark.parametrize("count", [40, 1000])
async def test_long_json_is_compressed_for_clients_that_accept_gzip(count: int, now: Callable[[str], None]) -> None:
    async with serving(routes) as client:
        plain, plain_body = await fetch(client, f"/rows/{count}", None)
        compressed, compressed_body = await fetch(client, f"/rows/{count}", "gzip")
    assert json.loads(plain_body) == json.loads(gzip.decompress(compressed_body)) == ROWS[:count]
    assert (THREAD_BYTES if count == 1000 else MIN_BYTES) < len(plain_body)
    assert len(compressed_body) < len(plain_body) / 4
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    assert int(compressed.headers["Content-Length"]) == len(compressed_body)
    now(f"{len(plain_body)} bytes of JSON are {len(compressed_body)} with gzip")


async def test_short_responses_and_images_are_not_compressed() -> None:
    async with serving(routes) as client:
        short, _ = await fetch(client, "/rows/1", "gzip")
        image, _ = await fetch(client, "/image", "gzip")
    assert (short.headers.get("Content-Encoding"), short.headers["Vary"]) == (None, "Accept-Encoding")
    assert (image.headers.get("Content-Encoding"), image.headers.get("Vary")) == (None, None)


async def test_a_long_problem_is_compressed() -> None:
    async with serving(routes) as client:
        response, body = await fetch(client, "/problem", "gzip")
    assert (response.status, response.content_type) == (422, "application/problem+json")
    assert len(json.loads(gzip.decompress(body))["errors"]) == 100


async def test_an_event_stream_is_not_compressed() -> None:
    async with serving(routes) as client:
        response, body = await fetch(client, "/stream", "gzip")
    assert "Content-Encoding" not in response.headers
    assert body.startswith(b"data: xxx")


@pytest.mark.parametrize("accept_encoding", [None, "gzip"])
async def test_head_returns_the_headers_of_get_without_a_body(
    accept_encoding: str | None, now: Callable[[str], None]
) -> None:
    async with serving(routes) as client:
        for path in ("/rows/40", "/rows/1000", "/rows/1", "/problem", "/nothing"):
            got, _ = await fetch(client, path, accept_encoding)
            head, body = await fetch(client, path, accept_encoding, "HEAD")
            assert (head.status, body) == (got.status, b"")
            assert headers_without_date(head) == headers_without_date(got)
    now("HEAD: the headers of GET")


def headers_without_date(response: ClientResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "Date"}
