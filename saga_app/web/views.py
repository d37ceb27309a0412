"""The Provisioner's HTTP API, served from its table: new user, rows of this worker, one row from any worker."""

import asyncio
from collections.abc import Mapping, Sequence
from time import time
from typing import Annotated, Any
from urllib.parse import quote

import aiohttp
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from saga_app.active_plan import PLAN
from saga_app.saga import json_text
from saga_app.saga.codec import BadMessage, decode
from saga_app.saga.messages import Row, User
from saga_app.saga.states import State
from saga_app.saga.times import utc
from saga_app.service import health
from saga_app.service.app import bootstrap_of
from saga_app.service.kafka.headroom import ChangelogRoom
from saga_app.service.memory.rows import Rows
from saga_app.stream import Sender, Table, partition_of
from saga_app.web import new_users, query
from saga_app.web.existing import ExistingSaga
from saga_app.web.idempotency import key_of
from saga_app.web.problem import Problem
from saga_app.web.saga_view import view
from saga_app.web.start_saga import Headroom, Starter, trace_of, unlimited_headroom

#: Marks a forwarded request, which is not forwarded again: otherwise two workers could forward it in a loop.
FORWARDED_HEADER = "X-Saga-Forwarded"

#: The maximum number of rows read for one response, so that the event loop is not blocked.
MAX_ROWS_READ = 10_000

#: Timeout of a request to the worker that owns a row (seconds).
OWNER_TIMEOUT_S = 5.0


class RowsQuery(BaseModel):
    """The query of `GET /sagas/`."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Annotated[str | None, Field(pattern=r"^[0-9]{1,9}\..+", max_length=200)] = None

    @property
    def place(self) -> tuple[int, bytes] | None:
        """Partition and key of the row at which to continue, from `next` (`partition.id`) of an earlier response."""
        partition, _, key = (self.after or "").partition(".")
        return (int(partition), key.encode()) if partition else None


class Views:
    """The HTTP handlers of the Provisioner."""

    def __init__(self, app: Any, table: Table, rows: Rows, headroom: Headroom) -> None:
        self.app, self.table, self.rows = app, table, rows
        sender = Sender(bootstrap_of(app.settings), partitions=app.settings.partitions)
        self.starter = Starter(sender, PLAN.initiator, known=self.known, headroom=headroom, url="/sagas/{}")

    async def new_user(self, request: web.Request) -> web.Response:
        """Onboard one user. The response is sent when the broker has acknowledged the request."""
        requested = await new_users.read(request)
        if requested.many:
            raise Problem(422, "this endpoint accepts one user; send lists and CSV to the console: POST /api/users")
        started = await self.starter.start(requested, key_of(request), trace_of(request))
        return started.answer(self.starter.url)

    async def known(self, ids: Sequence[str]) -> dict[str, ExistingSaga]:
        """The sagas among these ids that have a row on any worker."""
        found = {id: await self._find(id) for id in ids}
        return {id: _existing(shown) for id, shown in found.items() if shown is not None}

    async def list(self, request: web.Request) -> web.Response:
        """List the rows of this worker, ordered by partition, then by the order of the store."""
        requested = query.read(RowsQuery, request)
        items: list[dict[str, Any]] = []
        last = None
        for seen, (partition, key, value) in enumerate(self.table.rows(requested.place)):
            if len(items) == requested.limit or seen == MAX_ROWS_READ:
                return _json({"items": items, "next": last})
            if seen % 500 == 499:
                await asyncio.sleep(0)
            if partition != partition_of(key, self.app.settings.partitions):
                continue  # an old copy from before the topics were given more partitions
            row = _readable(value)
            if row is None or row.id.encode() != key:
                continue  # written by another client
            last = f"{partition}.{row.id}"
            if requested.state in (None, row.state):
                items.append(view(row, utc(time())))
        return _json({"items": items, "next": None})

    async def show(self, request: web.Request) -> web.Response:
        """Show one row, from the worker that owns it."""
        id = request.match_info["id"]
        forwarded = FORWARDED_HEADER in request.headers
        shown = await self._find(id, forwarded)
        if shown is None:
            raise Problem(404, f"no saga {id}")
        if not forwarded:
            shown.pop("idempotency", None)
        return _json(shown)

    async def _find(self, id: str, forwarded: bool = False) -> dict[str, Any] | None:
        """The view of a row with its idempotency mark, or None. Raises `Problem` 503 while its owner is unavailable."""
        partition = partition_of(id.encode(), self.app.settings.partitions)
        owner = self._owner(partition)
        if owner is None:
            raise _unavailable("no worker owns the partition of this saga at the moment")
        if owner != str(self.app.conf.canonical_url).rstrip("/"):
            if forwarded:
                raise _unavailable("the partition of this saga is being moved to another worker")
            return await self._ask(owner, id)
        if reason := health.not_ready(self.app):
            raise _unavailable(reason)
        row = self.rows.get(partition, id)
        return None if row is None else view(row, utc(time())) | {"idempotency": row.idempotency}

    def _owner(self, partition: int) -> str | None:
        """The URL of the worker that owns this partition, or None."""
        changelog = self.table.changelog_topic_name
        for url, held in self.app.router.table_metadata(self.table.name).items():
            if partition in held.get(changelog, ()):
                return str(url).rstrip("/")
        return None

    async def _ask(self, owner: str, id: str) -> dict[str, Any] | None:
        limits = aiohttp.ClientTimeout(OWNER_TIMEOUT_S)
        headers = {FORWARDED_HEADER: "1"}
        if token := self.app.settings.token:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        try:
            async with self.app.http_client.get(
                f"{owner}/sagas/{quote(id, safe='')}", headers=headers, timeout=limits
            ) as answer:
                if answer.status == 404:
                    return None
                if answer.status in (401, 403):
                    raise _unavailable(
                        f"the worker that owns this saga ({owner}) denied access: give both workers the same "
                        "SAGA_TOKEN, or add their network to SAGA_TRUSTED"
                    )
                if answer.status != 200:
                    raise _unavailable(f"the worker that owns this saga answered {answer.status}")
                found: dict[str, Any] = json_text.loads(await answer.read())
                return found
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unavailable(f"the worker that owns this saga is unavailable: {type(error).__name__}") from error


def _unavailable(reason: str) -> Problem:
    return Problem(503, f"{reason}; try again shortly", headers={"Retry-After": "2"})


def _existing(shown: Mapping[str, Any]) -> ExistingSaga:
    """Create the description from the view of a row, which may come from a worker of an earlier version."""
    user = shown["user"]
    return ExistingSaga(
        user=user if isinstance(user, User) else User(**user),
        idempotency=shown.get("idempotency"),
        state=shown["state"],
        reason=shown["reason"],
        why=shown["why"],
    )


def _readable(value: bytes) -> Row | None:
    try:
        return decode(Row, value)
    except BadMessage:
        return None


def _json(body: Any) -> web.Response:
    return web.Response(body=json_text.dumps(body), content_type="application/json")


def add_routes(app: Any, table: Table, rows: Rows, headroom: ChangelogRoom | None = None) -> None:
    """Add the API to the Provisioner's web server. `headroom`: limits new sagas with the embedded broker."""
    views = Views(app, table, rows, headroom.refusal if headroom else unlimited_headroom)
    router = app.web.web_app.router
    router.add_post("/users", views.new_user)
    router.add_get("/sagas/", views.list)
    router.add_get("/sagas/{id}", views.show)
