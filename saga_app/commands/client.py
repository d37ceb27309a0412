"""The console's HTTP interface, as the command line uses it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

#: Seconds that an answer may take. Ten thousand users at once need a while.
ANSWER_S = 60.0

#: Seconds without a word on an event stream (statistics come every second) after which it counts as lost.
SILENCE_S = 15.0

#: Seconds before a lost event stream is opened again.
AGAIN_S = 1.0


class Refused(Exception):
    """The console said no, or is not there; `lines` tell a person why."""

    def __init__(self, *lines: str, status: int | None = None) -> None:
        super().__init__("\n".join(lines))
        self.lines, self.status = lines, status


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: Any


class Console:
    """A client; use it as an async context manager. Every call raises `Refused`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._http.close()

    async def get(self, path: str, **query: Any) -> Any:
        """A JSON answer; what is None is not asked for."""
        asked = {key: str(value) for key, value in query.items() if value is not None}
        async with self._asked("GET", path, params=asked) as answer:
            return await answer.json()

    async def post(self, path: str, body: bytes, content_type: str, **headers: str) -> Any:
        """A JSON answer to a body."""
        async with self._asked("POST", path, data=body, headers={"Content-Type": content_type, **headers}) as answer:
            return await answer.json()

    async def events(self, *, trace: bool) -> AsyncIterator[Event]:
        """Everything as it comes, without end; after an interruption it goes on where it was and yields "lost"."""
        last, opened = "", False
        while True:
            query = {"trace": "on" if trace else "off"} | ({"last_event_id": last} if last else {})
            try:
                async with self._asked("GET", "/api/stream", params=query, timeout=STREAM) as answer:
                    opened = True
                    async for last, event in _parsed(answer.content, last):  # noqa: B007, B020  (the id so far)
                        yield event
            except (Refused, aiohttp.ClientError, TimeoutError) as error:
                if not opened:
                    raise
                yield Event("lost", str(error))
            await asyncio.sleep(AGAIN_S)

    @asynccontextmanager
    async def _asked(self, method: str, path: str, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._http.request(method, self.url + path, **how) as answer:
                if answer.status >= 400:
                    raise Refused(*_problem(answer.status, await answer.read()), status=answer.status)
                yield answer
        except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            raise Refused(
                f"no console at {self.url}: start one with `make run` or `saga up`, or name it: saga --console URL …"
            ) from None
        except aiohttp.InvalidURL:
            raise Refused(f"{self.url} is not a URL; a console is at http://HOST:PORT") from None
        except aiohttp.ContentTypeError:
            raise Refused(f"{self.url} answers, but it is not the console of this program") from None
        except TimeoutError:
            raise Refused(f"the console at {self.url} did not answer in time") from None


STREAM = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)


async def _parsed(lines: aiohttp.StreamReader, last: str) -> AsyncIterator[tuple[str, Event]]:
    """The events of a stream, each with the last id so far."""
    name, data = "message", list[str]()
    async for raw in _lines(lines):
        field, _, value = raw.partition(":")
        value = value.removeprefix(" ")
        if raw == "" and data:
            yield last, Event(name, json.loads("\n".join(data)))
        if raw == "":
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last = value


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Without a limit on their length: a row with a long history is one line."""
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode().rstrip("\r")


def _problem(status: int, body: bytes) -> list[str]:
    """A problem+json (RFC 9457) in lines, one for each field that is wrong."""
    try:
        problem: Mapping[str, Any] = json.loads(body)
        said = [str(problem.get("detail") or problem.get("title") or f"the console answered {status}")]
        return said + [_wrong(error) for error in problem.get("errors", [])]
    except (ValueError, AttributeError):
        return [f"the console answered {status}"]


def _wrong(error: Mapping[str, Any]) -> str:
    entry = f"entry {error['index']}, " if error.get("index") is not None else ""
    return f"  {entry}{error.get('field', '')}: {error.get('message', '')}"
