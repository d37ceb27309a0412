"""Requests that the parser rejects are answered with problem+json: too long, malformed, or not HTTP."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from saga_app.web.http_server import HEADER_BYTES, LINE_BYTES
from tests.web_server import route, serving

pytestmark = pytest.mark.field(38)

HOST = b"Host: localhost\r\n"
GET = b"GET /x HTTP/1.1\r\n" + HOST


async def echo(request: web.Request) -> web.Response:
    """Respond with the parameter `q`."""
    return web.json_response({"q": request.query.get("q")})


async def send_raw(client: TestClient[Any, Any], request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes. Returns status, headers and body of the response."""
    reader, writer = await asyncio.open_connection(str(client.host), client.port)
    writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    line, *lines = head.decode().strip().split("\r\n")
    headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
    body = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), 5)
    writer.close()
    return int(line.split()[1]), headers, body


#: A request line above the limit.
LONG_REQUEST = b"GET /x?q=" + b"a" * LINE_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n"
#: Requests, and the status of their responses.
REJECTED = [
    (LONG_REQUEST, 414),
    (b"GET /x?q=" + b"a" * 2_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (GET + b"X: " + b"a" * (HEADER_BYTES + 10) + b"\r\n\r\n", 431),
    (GET + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n", 431),
    (GET + b"X" * HEADER_BYTES + b": a\r\n\r\n", 431),
    (GET + b"".join(b"X%d: a\r\n" % number for number in range(200)) + b"\r\n", 431),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"hello\r\n\r\n", 400),
    (b"FROB /x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /x y HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /x HTTP/9.9\r\n" + HOST + b"\r\n", 400),
    (b"GET /x HTTP/1.1\r\n\r\n", 400),
    (GET + HOST + b"\r\n", 400),
    (b"GET /x\x00y HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /x?q=\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET http://[/x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET http://a:99999/x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (GET + b"X: a\x00b\r\n\r\n", 400),
    (GET + b"X y: a\r\n\r\n", 400),
    (GET + b"Content-Length: x\r\n\r\n", 400),
    (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
    (GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (GET + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
]


@pytest.mark.parametrize(("request_", "status"), REJECTED, ids=[str(number) for number in range(len(REJECTED))])
async def test_a_request_that_cannot_be_parsed_is_a_readable_problem(request_: bytes, status: int) -> None:
    async with serving(route("GET", "/x", echo)) as client:
        response_status, headers, body = await send_raw(client, request_)
        assert (response_status, headers["content-type"]) == (status, "application/problem+json")
        problem = json.loads(body)
        assert problem["status"] == status
        assert problem["detail"]
        for internal in ("bytearray", "b'", "\\x", "Traceback", "aaaa", "^"):
            assert internal not in problem["detail"]
        assert (await client.get("/x")).status == 200


async def test_a_query_of_nine_thousand_characters_is_accepted(now: Callable[[str], None]) -> None:
    async with serving(route("GET", "/x", echo)) as client:
        q = "a" * 9000
        status, _, body = await send_raw(client, f"GET /x?q={q} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (status, json.loads(body)) == (200, {"q": q})
        now(f"read; {(await send_raw(client, LONG_REQUEST))[0]} problem+json above 64 KiB")


async def test_an_invalid_request_logs_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "aiohttp"):
        async with serving(route("GET", "/x", echo)) as client:
            await send_raw(client, b"hello\r\n\r\n")
    assert not [record for record in caplog.records if record.exc_info]
