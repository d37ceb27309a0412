"""A client for the console's HTTP API."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

#: Timeout of a request. A request with 10,000 users takes several seconds.
ANSWER_TIMEOUT_S = 60.0

#: An event stream without data for this long is considered lost; statistics are sent every second.
STREAM_SILENCE_S = 15.0

#: Delay before a lost event stream is opened again.
RECONNECT_DELAY_S = 1.0


class Refused(Exception):
    """The console rejected the request or is not reachable.

    `lines`: the explanation for the user. `status` and `problem`: the HTTP status and the problem+json body, if any.
    """

    def __init__(self, *lines: str, status: int | None = None, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__("\n".join(lines))
        self.lines, self.status, self.problem = lines, status, problem or {}


class OutcomeUnknown(Refused):
    """A change was requested, but no conclusive response arrived: it may or may not have been made."""


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: Any


class Console:
    """The client, an async context manager. All methods raise `Refused`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._http.close()

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON response to a GET; query parameters that are None are omitted."""
        params = {key: str(value) for key, value in query.items() if value is not None}
        async with self._request("GET", path, params=params) as answer:
            return await answer.json()

    async def post(self, path: str, body: bytes, content_type: str, **headers: str) -> Any:
        """Send a body; returns the JSON response."""
        async with self._request("POST", path, data=body, headers={"Content-Type": content_type, **headers}) as answer:
            return await answer.json()

    async def onboard(self, body: bytes, content_type: str, key: str) -> dict[str, Any]:
        """Onboard users with an Idempotency-Key.

        Returns the JSON response; `existing` is the number of users that existed before.
        """
        headers = {"Content-Type": content_type, "Idempotency-Key": key}
        async with self._request("POST", "/api/users", data=body, headers=headers) as answer:
            accepted: dict[str, Any] = await answer.json()
            if (existing := answer.headers.get("X-Saga-Existing")) is not None:
                accepted["existing"] = int(existing)
            return accepted

    async def events(self, *, trace: bool) -> AsyncIterator[Event]:
        """Yield the events of the stream without end.

        After an interruption it yields an event named "lost" and resumes after the last event.
        `trace`: include the events of single steps.
        """
        last, opened = "", False
        while True:
            query = {"trace": "on" if trace else "off"} | ({"last_event_id": last} if last else {})
            try:
                async with self._request("GET", "/api/stream", params=query, timeout=STREAM_TIMEOUT) as answer:
                    opened = True
                    async for last, event in _parse_events(answer.content, last):  # noqa: B007, B020  (the id of the last event)
                        yield event
            except (Refused, aiohttp.ClientError, TimeoutError) as error:
                if not opened:
                    raise
                yield Event("lost", str(error))
            await asyncio.sleep(RECONNECT_DELAY_S)

    @asynccontextmanager
    async def _request(self, method: str, path: str, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._http.request(method, self.url + path, **how) as answer:
                if answer.status >= 400:
                    raise _refusal_from(method, answer.status, await answer.read())
                yield answer
        except aiohttp.ClientConnectorError:
            raise Refused(
                f"no console at {self.url}: start one with `make run` or `saga up`, or set its URL with --console"
            ) from None
        except aiohttp.InvalidURL:
            raise Refused(f"{self.url} is not a valid URL; expected http://HOST:PORT") from None
        except aiohttp.ContentTypeError:
            raise Refused(f"the server at {self.url} is not a saga console") from None
        except TimeoutError:
            raise self._lost(method, f"the console at {self.url} did not respond in time") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, json.JSONDecodeError):
            raise self._lost(
                method, f"the connection to the console at {self.url} was closed before the response"
            ) from None

    def _lost(self, method: str, what: str) -> Refused:
        """The error for a request that may have been received."""
        return Refused(what) if method == "GET" else OutcomeUnknown(f"{what}: the outcome is unknown")


STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_read=STREAM_SILENCE_S)


async def _parse_events(lines: aiohttp.StreamReader, last: str) -> AsyncIterator[tuple[str, Event]]:
    """Parse server-sent events; yields each with the id of the last event."""
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
    """The lines of a stream, of any length: a saga with a long history is one line."""
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode().rstrip("\r")


def _refusal_from(method: str, status: int, body: bytes) -> Refused:
    """The error for a problem+json response (RFC 9457).

    After a 502 or 504 of a gateway it is unknown whether the console has received the request.
    """
    try:
        problem: Mapping[str, Any] = json.loads(body)
        lines = problem_lines(problem) or [f"the console responded with status {status}"]
    except (ValueError, AttributeError):
        problem, lines = {}, [f"the console responded with status {status}"]
    is_unknown = problem.get("outcome") == "unknown" or (status in (502, 504) and method != "GET")
    return (OutcomeUnknown if is_unknown else Refused)(*lines, status=status, problem=problem)


def problem_lines(problem: Mapping[str, Any]) -> list[str]:
    """The detail of a problem, and a line for each error that names an entry or a field."""
    detail = str(problem.get("detail") or problem.get("title") or "")
    errors = [error for error in problem.get("errors") or [] if _is_placed(error) or not detail]
    return [line for line in [detail, *map(_error_line, errors)] if line]


def _is_placed(error: Mapping[str, Any]) -> bool:
    return error.get("index") is not None or bool(error.get("field"))


def _error_line(error: Mapping[str, Any]) -> str:
    index, line = error.get("index"), error.get("line")
    entry = f"line {line}" if line is not None else f"entry {index}" if index is not None else ""
    place = ", ".join(str(part) for part in (entry, error.get("field")) if part)
    return f"  {place}: {error.get('message', '')}" if place else f"  {error.get('message', '')}"
