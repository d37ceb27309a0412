"""The console's API on a real index: messages that it sends are processed at once and appear in the index."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.console.http import api, contracts, page_files
from saga_app.console.http.hub import Hub
from saga_app.console.kafka.lookup import Lookup
from saga_app.console.kafka.trace import Found, Searched, Trace
from saga_app.saga.codec import parse
from saga_app.saga.messages import Message, Row, User
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Outcome
from saga_app.saga.timeline import DecodedRecord, story
from saga_app.saga.times import utc
from saga_app.stream.produce.sender import Message as Outgoing
from saga_app.web.start_saga import Starter
from tests.builders import ADA, at
from tests.fakes.record import FakeRecord
from tests.fakes.topics import ALL_STEPS, FakeTopics
from tests.unit.console.index_harness import IndexHarness
from tests.unit.console.operator_harness import OperatorHarness
from tests.web_server import problem_of, serving


class FakeTrace(Trace):
    """Reads timelines from topics in memory."""

    def __init__(self, topics: FakeTopics) -> None:
        super().__init__(Lookup("127.0.0.1:1"), partitions=3, embedded=False)
        self.topics = topics

    async def of(self, row: Row) -> Found:
        records = self.topics.records_of(row.id)
        raws = {(each.topic, each.partition, each.offset): each for each in records}
        return Found(story(ONBOARDING, map(_decoded, records)), raws, Searched(10.0, len(records)))


def _decoded(record: FakeRecord) -> DecodedRecord:
    body = parse(record.topic, record.value, record.headers, ROWS_CHANGELOG)
    return DecodedRecord(record.topic, record.partition, record.offset, utc(record.timestamp / 1000), body)


class ApiHarness:
    """The handlers of the API, and a client of a running server with them: see `running_api`.

    A test may set `not_ready_reason`, and `loses_messages`: then posted users are acknowledged, but never processed.
    """

    client: TestClient[web.Request, web.Application]

    def __init__(self, index: IndexHarness) -> None:
        self.index, self.topics = index, FakeTopics()
        self.not_ready_reason: str | None = None
        self.loses_messages = False
        self.operator = OperatorHarness(index, self.topics)
        queries = self.operator.queries
        self.hub = Hub(queries.changed_after, lambda: at(60))
        self.hub.publish(index.index.epoch, 0, [])
        self.handlers = api.Api(
            starter=Starter(self, "console", known=queries.users),
            queries=queries,
            hub=self.hub,
            trace=FakeTrace(self.topics),
            operator=self.operator.operator,
            stats=self.stats,
            not_ready=lambda: self.not_ready_reason,
            now=lambda: at(60),
        )

    def add_routes(self, app: web.Application) -> None:
        """Add the API, its contracts and the page, as the console does."""
        api.add_routes(app, self.handlers.calls())
        contracts.add_routes(app, self.handlers.calls())
        page_files.add_routes(app, page_files.load())

    async def send_all(self, messages: Sequence[Outgoing]) -> None:
        """Run the saga of each message to its end."""
        for message in messages:
            request = parse(message.topic, message.value, (), ROWS_CHANGELOG)
            assert isinstance(request, Message)
            if not self.loses_messages:
                self.add_saga(request.id, request.user)

    def add_saga(
        self,
        id: str,
        user: User = ADA,
        begin: float = 0.0,
        outcomes: dict[str, Outcome] | None = None,
        steps: int = ALL_STEPS,
    ) -> None:
        """Run a saga as `FakeTopics.run_saga` does, index its records and publish its events."""
        first = len(self.topics.records)
        self.topics.run_saga(id, user, begin, outcomes=outcomes, steps=steps)
        changes = self.index.read(self.topics.records[first:])
        self.hub.publish(self.index.index.epoch, self.index.fold.seq, changes.events)

    def stats(self) -> dict[str, Any]:
        """The body of `GET /api/stats`."""
        return self.index.fold.figures.snapshot(self.topics.start) | {
            "errors": self.index.index.errors,
            "services": {"notifier": {"up": True, "workers": 1, "lag": 0, "reason": None}},
            "broker": {"embedded": True, "up": True, "fill": 0.1},
            "departments": ["Sales"],
            "lag": "0",
            "not_ready": None,
        }

    async def get(self, path: str, status: int = 200) -> Any:
        """The decoded body of a response, whose status must be as given."""
        return await _body_of(await self.client.get(path), status)

    async def post(self, path: str, body: Any, status: int = 200, **headers: str) -> Any:
        """Post bytes, or anything else as JSON; returns the decoded body of the response, as `get` does."""
        data = body if isinstance(body, bytes) else json.dumps(body)
        response = await self.client.post(path, data=data, headers={"Content-Type": "application/json"} | headers)
        return await _body_of(response, status)


async def _body_of(response: ClientResponse, status: int) -> Any:
    if status >= 400:
        return await problem_of(response, status)
    assert response.status == status, await response.text()
    return await response.json()


@asynccontextmanager
async def running_api(api: ApiHarness) -> AsyncIterator[ApiHarness]:
    """Run a server with the API; ends its event streams afterwards."""
    async with serving(api.add_routes) as client:
        api.client = client
        yield api
        api.hub.stop()
