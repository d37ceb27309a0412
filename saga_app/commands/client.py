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
    """The console said no, or is not there; `lines` tell a person why. `problem` is its answer."""

    def __init__(self, *lines: str, status: int | None = None, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__("\n".join(lines))
        self.lines, self.status, self.problem = lines, status, problem or {}


class OutcomeUnknown(Refused):
    """A change was requested and no answer came, or none that says what became of it: it may have been made."""


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

    async def onboard(self, body: bytes, content_type: str, key: str) -> dict[str, Any]:
        """New users with an Idempotency-Key: the answer, and under `existing` how many of them existed already."""
        headers = {"Content-Type": content_type, "Idempotency-Key": key}
        async with self._asked("POST", "/api/users", data=body, headers=headers) as answer:
            accepted: dict[str, Any] = await answer.json()
            if (existing := answer.headers.get("X-Saga-Existing")) is not None:
                accepted["existing"] = int(existing)
            return accepted

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
                    raise _refusal(method, answer.status, await answer.read())
                yield answer
        except aiohttp.ClientConnectorError:
            raise Refused(
                f"no console at {self.url}: start one with `make run` or `saga up`, or name it: saga --console URL …"
            ) from None
        except aiohttp.InvalidURL:
            raise Refused(f"{self.url} is not a URL; a console is at http://HOST:PORT") from None
        except aiohttp.ContentTypeError:
            raise Refused(f"{self.url} answers, but it is not the console of this program") from None
        except TimeoutError:
            raise self._lost(method, f"the console at {self.url} did not answer in time") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, json.JSONDecodeError):
            raise self._lost(method, f"the connection to the console at {self.url} ended before its answer") from None

    def _lost(self, method: str, what: str) -> Refused:
        """Of a request that may have arrived."""
        return Refused(what) if method == "GET" else OutcomeUnknown(f"{what}: the outcome is unknown")


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


def _refusal(method: str, status: int, body: bytes) -> Refused:
    """A problem+json (RFC 9457). A gateway's 502 or 504 does not say whether the console has had the request."""
    try:
        problem: Mapping[str, Any] = json.loads(body)
        lines = problem_lines(problem) or [f"the console answered {status}"]
    except (ValueError, AttributeError):
        problem, lines = {}, [f"the console answered {status}"]
    is_unknown = problem.get("outcome") == "unknown" or (status in (502, 504) and method != "GET")
    return (OutcomeUnknown if is_unknown else Refused)(*lines, status=status, problem=problem)


def problem_lines(problem: Mapping[str, Any]) -> list[str]:
    """What went wrong, and a line for each mistake; of a mistake in no entry the first line says all."""
    detail = str(problem.get("detail") or problem.get("title") or "")
    errors = [error for error in problem.get("errors") or [] if _is_placed(error) or not detail]
    return [line for line in [detail, *map(_wrong, errors)] if line]


def _is_placed(error: Mapping[str, Any]) -> bool:
    return error.get("index") is not None or bool(error.get("field"))


def _wrong(error: Mapping[str, Any]) -> str:
    index, line = error.get("index"), error.get("line")
    entry = f"line {line}" if line is not None else f"entry {index}" if index is not None else ""
    place = ", ".join(str(part) for part in (entry, error.get("field")) if part)
    return f"  {place}: {error.get('message', '')}" if place else f"  {error.get('message', '')}"
