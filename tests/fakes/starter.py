"""The HTTP handler that starts sagas, behind a real web server, with a producer that keeps its messages."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from saga_app.saga import saga_row
from saga_app.saga.codec import decode
from saga_app.saga.messages import Message, Row, User
from saga_app.saga.onboarding import ONBOARDING
from saga_app.stream import NotAcknowledged
from saga_app.stream.produce.sender import Message as Outgoing
from saga_app.web.existing import ExistingSaga, existing
from saga_app.web.idempotency import key_part
from saga_app.web.start_saga import Starter, no_key_taken
from tests.builders import at
from tests.web_server import serving

ADA = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}

#: How long `StarterServer.post_concurrently` waits for its requests to arrive (seconds).
ARRIVAL_TIMEOUT_S = 5.0


class FakeBatchingProducer:
    """Keeps the messages that it sends in `sent`, and counts the calls of `send_all` in `calls`.

    `unacknowledged`: None if the broker acknowledges everything, otherwise the indexes of the messages in each call
    that it does not acknowledge; an empty list means all of them. While `open` is cleared, `send_all` waits.
    """

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.unacknowledged: Sequence[int] | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.calls = 0

    async def send_all(self, messages: Sequence[Outgoing]) -> None:
        self.calls += 1
        await self.open.wait()
        if self.unacknowledged is not None:
            failed = list(self.unacknowledged) or range(len(messages))
            raise NotAcknowledged(failed, len(messages), "timed out")
        self.sent += messages

    @property
    def users(self) -> list[dict[str, Any]]:
        """The user of each message."""
        return [json.loads(message.value or b"")["user"] for message in self.sent]


class StarterServer:
    """A running server with a `Starter` at `POST /users`.

    `existing`: the sagas that its lookup finds, by id. `lookups`: the ids of each lookup so far.
    """

    def __init__(
        self,
        client: TestClient[web.Request, web.Application],
        producer: FakeBatchingProducer,
        starter: Starter,
        lookups: Sequence[Sequence[str]] = (),
        existing: dict[str, ExistingSaga] | None = None,
    ) -> None:
        self.client, self.producer, self.starter, self.lookups = client, producer, starter, lookups
        self.existing = {} if existing is None else existing

    async def post(
        self, body: Any, key: str | None = None, kind: str = "application/json", **headers: str
    ) -> ClientResponse:
        """Send a request with an optional Idempotency-Key. A body other than bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent_headers = {"Content-Type": kind, **headers} | ({"Idempotency-Key": key} if key else {})
        return await self.client.post("/users", data=data, headers=sent_headers)

    async def post_concurrently(self, *bodies: Any, key: str) -> list[ClientResponse]:
        """Send requests with the same key at the same time; none is answered before the lookups of all have begun."""
        self.producer.open.clear()
        posts = [asyncio.create_task(self.post(body, key=key)) for body in bodies]
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            while len(self.lookups) < len(bodies):
                await asyncio.sleep(0.005)
        self.producer.open.set()
        return await asyncio.gather(*posts)


@asynccontextmanager
async def running_starter() -> AsyncIterator[StarterServer]:
    """Run a server without a limit on new sagas, on which Bob's saga `taken` exists."""
    sagas = {"taken": ExistingSaga(user=User("Bob", "bob@example.com", "Sales"))}
    lookups: list[Sequence[str]] = []

    async def known(ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        lookups.append(ids)
        return {id: sagas[id] for id in ids if id in sagas}

    producer = FakeBatchingProducer()
    starter = Starter(producer, "console", known=known)
    async with serving(lambda app: app.router.add_post("/users", starter.handle)) as client:
        yield StarterServer(client, producer, starter, lookups, sagas)


class SharedTopics:
    """Topics that several processes write and look up: a saga exists as soon as its first message was sent."""

    def __init__(self) -> None:
        self.producer = FakeBatchingProducer()

    @property
    def rows(self) -> dict[str, Row]:
        """The rows of all sagas, by id."""
        messages = [decode(Message, message.value) for message in self.producer.sent]
        return {each.id: saga_row.row_waiting_for(ONBOARDING, "new-user", each, at(0)) for each in messages}

    async def known(self, ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        return {id: existing(row, at(1)) for id, row in self.rows.items() if id in ids}

    async def key_taken(self, mark: str) -> bool:
        marks = [row.idempotency or "" for row in self.rows.values()]
        return any(each.startswith(key_part(mark)) and each != mark for each in marks)

    @asynccontextmanager
    async def process(self, by_key: bool = True) -> AsyncIterator[StarterServer]:
        """Run the server of a process without memory of earlier requests.

        With `by_key` it is a console; without, it is a Provisioner, which finds rows only by their ids.
        """
        key_taken = self.key_taken if by_key else no_key_taken
        starter = Starter(self.producer, "console", known=self.known, key_taken=key_taken)
        async with serving(lambda app: app.router.add_post("/users", starter.handle)) as client:
            yield StarterServer(client, self.producer, starter)
