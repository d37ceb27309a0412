"""HEAD and gzip: what a client accepts, what it gets, and what is left as it is."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession, web
from hypothesis import given
from hypothesis import strategies as st

from saga_app.web.compression import MIN_BYTES, THREAD_BYTES, accepts_gzip
from saga_app.web.problem import Problem
from tests.web_server import serving

pytestmark = pytest.mark.field(45)

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
def test_gzip_is_what_the_client_accepts_and_does_not_like_less(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


@given(st.text())
def test_any_accept_encoding_is_understood(header: str) -> None:
    accepts_gzip(header)


def routes(app: web.Application) -> None:
    """Answers of several kinds and lengths."""

    async def rows(request: web.Request) -> web.Response:
        return web.json_response(ROWS[: int(request.match_info["count"])])

    async def image(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 2000, content_type="image/png")

    async def wrong(_request: web.Request) -> web.Response:
        faults: Any = [{"index": number, "field": "email", "message": "is missing"} for number in range(100)]
        raise Problem(422, "no", errors=faults)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: " + b"x" * 5000 + b"\n\n")
        return response

    app.router.add_get("/rows/{count}", rows)
    app.router.add_get("/image", image)
    app.router.add_get("/wrong", wrong)
    app.router.add_get("/stream", stream)


async def ask(client: Any, path: str, accepts: str | None, method: str = "GET") -> tuple[Any, bytes]:
    """The answer, and its body as it was sent."""
    headers = {} if accepts is None else {"Accept-Encoding": accepts}
    async with ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as http:
        async with http.request(method, client.make_url(path), headers=headers) as answer:
            return answer, await answer.read()


@pytest.mark.parametrize("count", [40, 1000])
async def test_long_json_is_packed_for_who_accepts_it(count: int, now: Callable[[str], None]) -> None:
    async with serving(routes) as client:
        plain, whole = await ask(client, f"/rows/{count}", None)
        packed, sent = await ask(client, f"/rows/{count}", "gzip")
    assert json.loads(whole) == json.loads(gzip.decompress(sent)) == ROWS[:count]
    assert (THREAD_BYTES if count == 1000 else MIN_BYTES) < len(whole)
    assert len(sent) < len(whole) / 4
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert int(packed.headers["Content-Length"]) == len(sent)
    now(f"{len(whole)} bytes of JSON are {len(sent)} with gzip")


async def test_short_answers_and_images_are_sent_as_they_are() -> None:
    async with serving(routes) as client:
        short, _ = await ask(client, "/rows/1", "gzip")
        image, _ = await ask(client, "/image", "gzip")
    assert (short.headers.get("Content-Encoding"), short.headers["Vary"]) == (None, "Accept-Encoding")
    assert (image.headers.get("Content-Encoding"), image.headers.get("Vary")) == (None, None)


async def test_a_long_problem_is_packed_too() -> None:
    async with serving(routes) as client:
        answer, sent = await ask(client, "/wrong", "gzip")
    assert (answer.status, answer.content_type) == (422, "application/problem+json")
    assert len(json.loads(gzip.decompress(sent))["errors"]) == 100


async def test_a_stream_is_never_packed() -> None:
    async with serving(routes) as client:
        answer, sent = await ask(client, "/stream", "gzip")
    assert "Content-Encoding" not in answer.headers
    assert sent.startswith(b"data: xxx")


@pytest.mark.parametrize("accepts", [None, "gzip"])
async def test_head_has_the_headers_of_get_and_no_body(accepts: str | None, now: Callable[[str], None]) -> None:
    async with serving(routes) as client:
        for path in ("/rows/40", "/rows/1000", "/rows/1", "/wrong", "/nothing"):
            got, _ = await ask(client, path, accepts)
            head, body = await ask(client, path, accepts, "HEAD")
            assert (head.status, body) == (got.status, b"")
            assert _but_date(head) == _but_date(got)
    now("HEAD: the headers of GET")


def _but_date(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "Date"}
