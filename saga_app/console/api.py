"""The console over HTTP: users in, sagas out."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from saga_app.console import parameters, schemas
from saga_app.console.calls import Call
from saga_app.console.hub import Hub
from saga_app.console.query import Queries
from saga_app.console.trace import Trace, shown
from saga_app.saga.messages import Row
from saga_app.saga.view import view
from saga_app.service.problem import Problem
from saga_app.service.query import read
from saga_app.service.start import Starter

#: How long an accepted user may take to come back from the topics, before a question about it is a 404 (seconds).
SOON_S = 3.0


class TraceQuery(BaseModel):
    """`GET /api/sagas/{id}/trace`."""

    model_config = ConfigDict(extra="forbid")

    raw: bool = Field(False, description="each entry with its record as it stands in the log")


class Api:
    """The handlers. `not_ready` says why the index is not up to date, `stats` are the figures of now."""

    def __init__(
        self,
        *,
        starter: Starter,
        queries: Queries,
        hub: Hub,
        trace: Trace,
        stats: Callable[[], dict[str, Any]],
        not_ready: Callable[[], str | None],
        now: Callable[[], str],
    ) -> None:
        self.starter, self.queries, self.hub, self.trace = starter, queries, hub, trace
        self.get_stats, self.not_ready, self.now = stats, not_ready, now

    def calls(self) -> Sequence[Call]:
        """All of them, as they are routed and described."""
        return (
            Call(
                "POST",
                "/api/users",
                self.post_users,
                answer=schemas.Accepted,
                status=202,
                problems=(400, 401, 403, 409, 413, 415, 422, 429, 503),
            ),
            Call("GET", "/api/sagas", self.sagas, parameters.SagaQuery, answer=schemas.SagaPage, problems=(422, 503)),
            Call("GET", "/api/sagas/{id}", self.saga, answer=schemas.SagaNow, problems=(404, 503)),
            Call(
                "GET",
                "/api/sagas/{id}/trace",
                self.saga_trace,
                TraceQuery,
                answer=schemas.Timeline,
                problems=(404, 422, 429, 503),
            ),
            Call("GET", "/api/stream", self.stream, StreamQuery, answer="text/event-stream", problems=(422, 429)),
            Call("GET", "/api/stats", self.stats, answer=schemas.Stats),
            Call(
                "GET",
                "/api/errors",
                self.errors,
                parameters.ErrorQuery,
                answer=schemas.DeadLetterPage,
                problems=(422, 503),
            ),
        )

    async def post_users(self, request: web.Request) -> web.StreamResponse:
        """Onboard a user, a JSON array of users, or CSV with a header line; answered when the broker has them."""
        return await self.starter.handle(request)

    async def sagas(self, request: web.Request) -> web.Response:
        """Sagas by state, department, overdue and search; sorted, in pages."""
        query = read(parameters.SagaQuery, request)
        cursor = self.hub.cursor  # before the question: what comes while it is answered is told again, not missed
        return _json(await self.queries.sagas(query) | {"cursor_event": cursor})

    async def saga(self, request: web.Request) -> web.Response:
        """One saga: its state, its facts, and why it is where it is."""
        cursor = self.hub.cursor
        row, overtook = await self._find(request.match_info["id"])
        return _json(view(row, self.now(), overtook) | {"cursor_event": cursor})

    async def _find(self, id: str) -> tuple[Row, int | None]:
        """The row; a user who has just been accepted is waited for."""
        deadline = monotonic() + SOON_S
        while (found := await self.queries.saga(id)) is None:
            if reason := self.not_ready():
                raise Problem(503, f"it is not known yet whether there is a saga {id}: {reason}")
            if id not in self.starter.accepted or monotonic() > deadline:
                raise Problem(404, f"there is no saga {id}")
            await asyncio.sleep(0.05)
        return found

    async def saga_trace(self, request: web.Request) -> web.Response:
        """One saga's timeline, from Kafka itself, in causal order, with topic, partition and offset."""
        query = read(TraceQuery, request)
        row, _ = await self._find(request.match_info["id"])
        entries, raws = await self.trace.of(row)
        if query.raw:
            items: list[Any] = [
                orjson.loads(orjson.dumps(entry)) | {"raw": shown(raws[entry.topic, entry.partition, entry.offset])}
                for entry in entries
            ]
            return _json({"id": row.id, "entries": items})
        return _json({"id": row.id, "entries": entries})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: saga (an ending), with trace=on also step; stats every second; reset.

        Last-Event-ID (or last_event_id) resumes without a gap.
        """
        return await self.hub.stream(request)

    async def stats(self, _request: web.Request) -> web.Response:
        """The figures of now."""
        return _json(self.get_stats())

    async def errors(self, request: web.Request) -> web.Response:
        """Dead letters, newest first, or counted by service, step and error."""
        return _json(await self.queries.errors(read(parameters.ErrorQuery, request)))


class StreamQuery(BaseModel):
    """`GET /api/stream`."""

    trace: str = Field("on", pattern="^(on|off)$", description="off: only the endings")
    last_event_id: str | None = Field(None, description="as the header Last-Event-ID, for the first connection")


def _json(body: Any) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=orjson.dumps(body), content_type="application/json", headers=headers)


def add_routes(app: web.Application, calls: Sequence[Call]) -> None:
    """To the web server."""
    for call in calls:
        app.router.add_route(call.method, call.path, call.handler)
