"""The console over HTTP: users in, sagas out."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from saga_app.active_plan import PLAN
from saga_app.console.http import schemas, sign_in
from saga_app.console.http.hub import Hub
from saga_app.console.http.plan_view import plan_view
from saga_app.console.http.routes import Call
from saga_app.console.index import filters
from saga_app.console.index.query import Queries
from saga_app.console.kafka.trace import Trace, shown
from saga_app.console.operator import action_request
from saga_app.console.operator.action_request import Order
from saga_app.console.operator.operator import SOON_S, Operator
from saga_app.console.record_id import Place, place_of
from saga_app.saga.messages import DLQ, Row
from saga_app.web.new_users import NewUser
from saga_app.web.problem import Problem
from saga_app.web.query import read
from saga_app.web.saga_view import view
from saga_app.web.start_saga import Starter

#: What can be wrong with an order.
ORDER_PROBLEMS = (400, 401, 403, 404, 413, 415, 422, 429, 503)


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
        operator: Operator,
        stats: Callable[[], dict[str, Any]],
        not_ready: Callable[[], str | None],
        now: Callable[[], str],
    ) -> None:
        self.starter, self.queries, self.hub, self.trace = starter, queries, hub, trace
        self.operator = operator
        self.get_stats, self.not_ready, self.now = stats, not_ready, now

    def calls(self) -> Sequence[Call]:
        """All of them, as they are routed and described."""
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
                body=Order,
                answer=schemas.Ordered,
                problems=ORDER_PROBLEMS,
            ),
            Call(
                "POST",
                "/api/errors/rollback",
                self.rollback,
                body=Order,
                answer=schemas.Ordered,
                problems=ORDER_PROBLEMS,
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
        """Onboard a user, a JSON array of users, or CSV with a header line; answered when the broker has them."""
        return await self.starter.handle(request)

    async def sagas(self, request: web.Request) -> web.Response:
        """Sagas by state, department, overdue and search; sorted, in pages."""
        query = read(filters.SagaQuery, request)
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
        found = await self.trace.of(row)
        entries: list[Any] = found.entries
        if query.raw:
            entries = [
                orjson.loads(orjson.dumps(entry))
                | {"raw": shown(found.raws[entry.topic, entry.partition, entry.offset])}
                for entry in entries
            ]
        return _json({"id": row.id, "entries": entries, "searched": found.searched})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: saga (an ending), with trace=on also step; stats every second; reset.

        Last-Event-ID (or last_event_id) resumes without a gap.
        """
        return await self.hub.stream(request)

    async def stats(self, _request: web.Request) -> web.Response:
        """The figures of now."""
        return _json(self.get_stats())

    async def plan(self, _request: web.Request) -> web.Response:
        """The plan that the services work by: steps, compensations, and the words by which they are shown."""
        return _json(plan_view(PLAN).model_dump())

    async def errors(self, request: web.Request) -> web.Response:
        """Dead letters, newest first, or counted by service, step and error."""
        return _json(await self.queries.errors(read(filters.ErrorQuery, request)))

    async def error(self, request: web.Request) -> web.Response:
        """One dead letter with its bytes, from Kafka itself; by the place of the original."""
        name = "{topic}[{partition}]@{offset}".format_map(request.match_info)
        place = place_of(name)
        letter = await self.queries.letter(place) if place else None
        if letter is None:
            raise self._no_letter(name)
        at = Place(DLQ, letter["dlq_partition"], letter["dlq_offset"])
        raw = (await self.operator.lookup.records([at])).get(at)
        if raw is None:
            raise Problem(404, f"the dead letter {name} is not in Kafka any more; it was {at.name}")
        return _json(letter | _whole(raw))

    def _no_letter(self, name: str) -> Problem:
        if reason := self.not_ready():
            return Problem(503, f"it is not known yet whether there is a dead letter {name}: {reason}")
        return Problem(404, f"there is no dead letter {name}")

    async def redrive(self, request: web.Request) -> web.Response:
        """Try dead letters again: one, some, or all that a filter matches; answered when the broker has it."""
        return _json(await self.operator.redrive(await action_request.read(request)))

    async def rollback(self, request: web.Request) -> web.Response:
        """Undo what sagas have done: one, some, or all whose dead letters a filter matches."""
        return _json(await self.operator.roll_back(await action_request.read(request)))


class StreamQuery(BaseModel):
    """`GET /api/stream`."""

    trace: str = Field("on", pattern="^(on|off)$", description="off: only the endings")
    last_event_id: str | None = Field(None, description="as the header Last-Event-ID, for the first connection")


def _whole(raw: Any) -> dict[str, Any]:
    """Bytes that are no text are shown as such only in base64."""
    try:
        text = None if raw.value is None else raw.value.decode()
    except UnicodeDecodeError:
        text = None
    encoded = None if raw.value is None else base64.b64encode(raw.value).decode()
    told = shown(raw)
    return {"key": told["key"], "value": text, "value_base64": encoded, "headers": told["headers"]}


def _json(body: Any) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=orjson.dumps(body), content_type="application/json", headers=headers)


def add_routes(app: web.Application, calls: Sequence[Call]) -> None:
    """To the web server."""
    for call in calls:
        if call.method == "GET":
            app.router.add_get(call.path, call.handler)  # and HEAD
        else:
            app.router.add_route(call.method, call.path, call.handler)
