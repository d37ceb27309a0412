"""The HTTP API of the console."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from saga_app.active_plan import PLAN
from saga_app.console.http import schemas, sign_in
from saga_app.console.http.hub import Hub
from saga_app.console.http.plan_view import plan_view
from saga_app.console.http.routes import Call
from saga_app.console.index import filters
from saga_app.console.index.query import Queries
from saga_app.console.kafka.trace import Trace, record_view
from saga_app.console.operator import action_request
from saga_app.console.operator.action_request import ActionRequest
from saga_app.console.operator.operator import INDEX_WAIT_S, Operator
from saga_app.saga import json_text
from saga_app.saga.messages import DLQ, Row
from saga_app.saga.record_id import RecordId, parse_record_id
from saga_app.web.new_users import NewUser
from saga_app.web.problem import Problem
from saga_app.web.query import read
from saga_app.web.saga_view import entry_view, view
from saga_app.web.start_saga import Starter

#: Error statuses of a redrive or rollback.
ACTION_PROBLEMS = (400, 401, 403, 404, 413, 415, 422, 429, 503)


class TraceQuery(BaseModel):
    """Query of `GET /api/sagas/{id}/trace`."""

    model_config = ConfigDict(extra="forbid")

    raw: bool = Field(False, description="include the Kafka record of each entry")


class Api:
    """The request handlers.

    `not_ready`: returns why the index is not up to date, or None. `stats`: returns the current figures. `now`: returns
    the current time.
    """

    def __init__(
        self,
        *,
        starter: Starter,
        queries: Queries,
        hub: Hub,
        trace: Trace,
        operator: Operator,
        stats: Callable[[], dict[str, Any]],
        not_ready: Callable[[], str | None],
        now: Callable[[], datetime],
    ) -> None:
        self.starter, self.queries, self.hub, self.trace = starter, queries, hub, trace
        self.operator = operator
        self.get_stats, self.not_ready, self.now = stats, not_ready, now

    def calls(self) -> Sequence[Call]:
        """The calls for the router and the OpenAPI document."""
        return (
            Call(
                "POST",
                "/api/users",
                self.post_users,
                body=NewUser,
                answer=schemas.Accepted,
                status=202,
                problems=(400, 401, 403, 409, 413, 415, 422, 429, 503),
            ),
            Call("GET", "/api/sagas", self.sagas, filters.SagaQuery, answer=schemas.SagaPage, problems=(422, 503)),
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
            Call("GET", "/api/plan", self.plan, answer=schemas.PlanView),
            Call(
                "GET",
                "/api/errors",
                self.errors,
                filters.ErrorQuery,
                answer=schemas.DeadLetterPage,
                problems=(422, 503),
            ),
            Call(
                "GET",
                "/api/errors/{topic}/{partition}/{offset}",
                self.error,
                answer=schemas.DeadLetterWhole,
                problems=(404, 429, 503),
            ),
            Call(
                "POST",
                "/api/errors/redrive",
                self.redrive,
                body=ActionRequest,
                answer=schemas.ActionResult,
                problems=ACTION_PROBLEMS,
            ),
            Call(
                "POST",
                "/api/errors/rollback",
                self.rollback,
                body=ActionRequest,
                answer=schemas.ActionResult,
                problems=ACTION_PROBLEMS,
            ),
            Call("GET", "/api/session", sign_in.show, answer=sign_in.Session),
            Call(
                "POST",
                "/api/session",
                sign_in.sign_in,
                body=sign_in.Credentials,
                answer=sign_in.Session,
                problems=(400, 401, 403, 413, 415, 422, 429),
            ),
            Call("DELETE", "/api/session", sign_in.sign_out, status=204, problems=(403,)),
        )

    async def post_users(self, request: web.Request) -> web.StreamResponse:
        """Onboard one user (JSON) or many (JSON array or CSV); responds after the broker's acknowledgement."""
        return await self.starter.handle(request)

    async def sagas(self, request: web.Request) -> web.Response:
        """List sagas, filtered by state, department, overdue and search text, sorted and in pages."""
        query = read(filters.SagaQuery, request)
        cursor = (
            self.hub.cursor
        )  # taken before the query, so that concurrent events are repeated on the stream instead of missed
        return _json(await self.queries.sagas(query) | {"cursor_event": cursor})

    async def saga(self, request: web.Request) -> web.Response:
        """One saga: its state, its facts, its history, and the reason for its state."""
        cursor = self.hub.cursor
        row, overtook = await self._find(request.match_info["id"])
        return _json(view(row, self.now(), overtook) | {"cursor_event": cursor})

    async def _find(self, id: str) -> tuple[Row, int | None]:
        """The row of a saga, and how many it overtook. Waits briefly for a user who has just been accepted."""
        deadline = monotonic() + INDEX_WAIT_S
        while (found := await self.queries.saga(id)) is None:
            if reason := self.not_ready():
                raise Problem(503, f"the index is not up to date, so the saga {id} may exist: {reason}")
            if id not in self.starter.accepted or monotonic() > deadline:
                raise Problem(404, f"saga {id} does not exist")
            await asyncio.sleep(0.05)
        return found

    async def saga_trace(self, request: web.Request) -> web.Response:
        """The timeline of one saga, read from Kafka, in causal order, with topic, partition and offset."""
        query = read(TraceQuery, request)
        row, _ = await self._find(request.match_info["id"])
        found = await self.trace.of(row)
        entries = [entry_view(entry) for entry in found.entries]
        if query.raw:
            for shown in entries:
                shown["raw"] = record_view(found.raws[shown["topic"], shown["partition"], shown["offset"]])
        return _json({"id": row.id, "entries": entries, "searched": found.searched})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: saga (a saga has ended), step (with trace=on), stats (every second), and reset.

        Last-Event-ID (or last_event_id) resumes the stream without a gap.
        """
        return await self.hub.stream(request)

    async def stats(self, _request: web.Request) -> web.Response:
        """Current statistics."""
        return _json(self.get_stats())

    async def plan(self, _request: web.Request) -> web.Response:
        """The plan of the sagas: steps, compensations and their display texts."""
        return _json(plan_view(PLAN).model_dump())

    async def errors(self, request: web.Request) -> web.Response:
        """List dead letters, newest first, or count them by service, step and error."""
        return _json(await self.queries.errors(read(filters.ErrorQuery, request)))

    async def error(self, request: web.Request) -> web.Response:
        """One dead letter with its bytes, read from Kafka; identified by the position of the original."""
        name = "{topic}[{partition}]@{offset}".format_map(request.match_info)
        place = parse_record_id(name)
        letter = await self.queries.letter(place) if place else None
        if letter is None:
            raise self._letter_not_found(name)
        at = RecordId(DLQ, letter["dlq_partition"], letter["dlq_offset"])
        raw = (await self.operator.lookup.records([at])).get(at)
        if raw is None:
            raise Problem(404, f"dead letter {name} is no longer in Kafka; its position was {at}")
        return _json(letter | _content(raw))

    def _letter_not_found(self, name: str) -> Problem:
        if reason := self.not_ready():
            return Problem(503, f"the index is not up to date, so the dead letter {name} may exist: {reason}")
        return Problem(404, f"dead letter {name} does not exist")

    async def redrive(self, request: web.Request) -> web.Response:
        """Redrive dead letters by id or filter; responds after the broker's acknowledgement."""
        return _json(await self.operator.redrive(await action_request.read(request)))

    async def rollback(self, request: web.Request) -> web.Response:
        """Roll back sagas by id or by a filter on dead letters; responds after the broker's acknowledgement."""
        return _json(await self.operator.roll_back(await action_request.read(request)))


class StreamQuery(BaseModel):
    """Query of `GET /api/stream`."""

    trace: str = Field("on", pattern="^(on|off)$", description="off: no step events")
    last_event_id: str | None = Field(None, description="same as the header Last-Event-ID, for a first connection")


def _content(raw: Any) -> dict[str, Any]:
    """Key, value and headers of a record. A value that is not UTF-8 is given in base64 only."""
    try:
        text = None if raw.value is None else raw.value.decode()
    except UnicodeDecodeError:
        text = None
    encoded = None if raw.value is None else base64.b64encode(raw.value).decode()
    record = record_view(raw)
    return {"key": record["key"], "value": text, "value_base64": encoded, "headers": record["headers"]}


def _json(body: Any) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=json_text.dumps(body), content_type="application/json", headers=headers)


def add_routes(app: web.Application, calls: Sequence[Call]) -> None:
    """Add the calls to the router of the web server."""
    for call in calls:
        if call.method == "GET":
            app.router.add_get(call.path, call.handler)  # and HEAD
        else:
            app.router.add_route(call.method, call.path, call.handler)
