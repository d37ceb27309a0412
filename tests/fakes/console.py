"""A console with canned answers behind a real HTTP server, for tests of the command line."""

import asyncio
import json
import threading
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

#: A timeline entry as the API returns it.
ENTRY: dict[str, Any] = {
    "at": "2030-01-02T03:04:05.678Z",
    "topic": "authorize",
    "partition": 3,
    "offset": 17,
    "service": "authorizer",
    "step": "authorize",
    "kind": "requested",
    "attempt": 1,
    "data": {"facts": {"device_id": "LT-ABC"}, "started_at": "2030-01-02T03:04:05.000Z", "reason": None},
}


def row(id: str, state: str = "completed", **other: Any) -> dict[str, Any]:
    """A saga as the API returns it; `other` are fields that differ from the default."""
    step = {"step": "provision", "service": "provisioner", "attempts": 1, "outcome": "done", "reason": None}
    times = {"received_at": ENTRY["at"], "started_at": ENTRY["at"], "ended_at": ENTRY["at"]}
    return {
        "id": id,
        "user": {"name": "Ada Lovelace", "email": "ada@example.com", "department": "Engineering"},
        "state": state,
        "step": "complete",
        "device_id": "LT-ABC",
        "authorizations": ["git", "ci"],
        "facts": {"device_id": "LT-ABC", "authorizations": ["git", "ci"]},
        "started_at": ENTRY["at"],
        "updated_at": "2999-01-01T00:00:00.000Z",
        "ended_at": ENTRY["at"],
        "duration": 1.25,
        "overdue": False,
        "why": "completed in 1.25 s",
        "history": [step | times],
    } | other


def letter(offset: int) -> dict[str, Any]:
    """A dead letter as the API lists it, of the record at this offset of notify[3]."""
    return {
        "name": f"notify[3]@{offset}",
        "id": "user-9",
        "service": "notifier",
        "step": "notify",
        "error": "Permanent",
        "reason": "no",
        "attempts": 3,
        "at": ENTRY["at"],
        "open": True,
    }


#: A group of dead letters as the API lists it.
GROUP: dict[str, Any] = {
    "service": "notifier",
    "step": "notify",
    "error": "Permanent",
    "count": 1,
    "first_at": ENTRY["at"],
    "last_at": ENTRY["at"],
    "reason": "no",
    "example": "notify[3]@0",
}


class FakeConsole:
    """Runs in a thread while its context is entered. Set its attributes before the command runs.

    Answers: `rows` are the sagas, `letters` the dead letters, `events` the event stream, `stats` the statistics; with
    `problem`, every request is answered with this status and body. Requests: `requested_paths`, `tokens` (the
    Authorization headers), `sent` (media type and body of posted users), `actions` (verb and body of redrives and
    rollbacks).
    """

    def __init__(self) -> None:
        self.rows = [row(f"user-{n}") for n in range(250)]
        self.sent: list[tuple[str, bytes]] = []
        self.requested_paths: list[str] = []
        self.tokens: list[str | None] = []
        self.events = [("step", {"entry": ENTRY, "saga": row("user-1")}), ("stats", {}), ("saga", row("user-1"))]
        self.problem: tuple[int, dict[str, Any]] | None = None
        self.stats: dict[str, Any] = {"broker": {"bootstrap": None}}
        self.letters = [letter(0)]
        self.actions: list[tuple[str, dict[str, Any]]] = []
        self.max_actions = 10**9  #: how many ids are accepted before redrives and rollbacks are answered with 503
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FakeConsole":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._record_request])
        app.add_routes(
            [
                web.post("/api/users", self._users),
                web.get("/api/sagas", self._sagas),
                web.get("/api/sagas/{id}", self._saga),
                web.get("/api/sagas/{id}/trace", self._trace),
                web.get("/api/errors", self._errors),
                web.get("/api/errors/{topic}/{partition}/{offset}", self._error),
                web.post("/api/errors/{verb:redrive|rollback}", self._act),
                web.get("/api/stream", self._stream),
                web.get("/api/stats", self._stats),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = runner.addresses[0][1]
        self._ready.set()

    @web.middleware
    async def _record_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requested_paths.append(request.path_qs)
        self.tokens.append(request.headers.get("Authorization"))
        if self.problem:
            status, body = self.problem
            return web.json_response(body, status=status, content_type="application/problem+json")
        return await handler(request)

    async def _users(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.sent.append((request.content_type, body))
        if request.content_type == "application/json" and isinstance(user := json.loads(body), dict):
            id = user.get("id", "made-up")
            return web.json_response({"id": id, "url": f"/api/sagas/{id}"}, status=202)
        count = len(json.loads(body)) if request.content_type == "application/json" else body.count(b"\n") - 1
        return web.json_response({"accepted": count, "ids": [f"id-{n}" for n in range(count)]}, status=202)

    async def _sagas(self, request: web.Request) -> web.Response:
        start, limit = int(request.query.get("cursor", 0)), int(request.query["limit"])
        end = start + limit
        more = str(end) if end < len(self.rows) else None
        return web.json_response({"items": self.rows[start:end], "next": more, "total": len(self.rows)})

    async def _stats(self, _request: web.Request) -> web.Response:
        return web.json_response(self.stats)

    async def _saga(self, request: web.Request) -> web.Response:
        for each in self.rows:
            if each["id"] == request.match_info["id"]:
                return web.json_response(each)
        problem = {"title": "Not Found", "detail": "no saga nobody"}
        return web.json_response(problem, status=404, content_type="application/problem+json")

    async def _trace(self, request: web.Request) -> web.Response:
        return web.json_response({"id": request.match_info["id"], "entries": [ENTRY]})

    async def _errors(self, request: web.Request) -> web.Response:
        if "group" in request.query:
            return web.json_response({"items": [GROUP], "next": None, "total": 8})
        start, limit = int(request.query.get("cursor", 0)), int(request.query["limit"])
        more = str(start + limit) if start + limit < len(self.letters) else None
        items = self.letters[start : start + limit]
        return web.json_response({"items": items, "next": more, "total": len(self.letters)})

    async def _error(self, request: web.Request) -> web.Response:
        assert request.path == "/api/errors/notify/3/7"
        stored = {"key": "user-9", "value": None, "value_base64": "/wA=", "headers": {"ce_id": "\x1b[2J"}}
        return web.json_response(letter(7) | stored)

    async def _act(self, request: web.Request) -> web.Response:
        """Redrive or roll back the given ids, or all dead letters; the last one counts as already resolved."""
        body = await request.json()
        count = len(body.get("ids", self.letters))
        if body.get("dry_run"):
            return web.json_response({"count": count, "dry_run": True})
        if sum(len(action["ids"]) for _, action in self.actions) + count > self.max_actions:
            problem = {"title": "Service Unavailable", "detail": "nothing was sent: the broker is unavailable"}
            return web.json_response(problem, status=503, content_type="application/problem+json")
        self.actions.append((request.match_info["verb"], body))
        return web.json_response({"count": count - 1, "dry_run": False, "left_out": {"already resolved": 1}})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send the events after `last_event_id`, then close the connection as if it were lost."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        first = int(request.query.get("last_event_id", 0))
        for number, (name, data) in enumerate(self.events[first:], start=first + 1):
            await response.write(f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())
        return response
