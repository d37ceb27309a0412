"""A starter behind a web server, with a sender that keeps what it is given."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from saga_app.saga import machine
from saga_app.saga.messages import Message, Row, User, decode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.stream import NotAcknowledged
from saga_app.stream.produce.sender import Message as Outgoing
from saga_app.web.existing import ExistingSaga, existing
from saga_app.web.idempotency import key_part
from saga_app.web.start_saga import Starter
from tests.builders import at
from tests.web_server import serving

ADA = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}


class FakeBatchingProducer:
    """A sender that keeps what it is given; `down` are the places of those that the broker does not acknowledge.

    While it is not `open`, it takes what it is `asked` to send and does not answer.
    """

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.down: Sequence[int] | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0

    async def send_all(self, messages: Sequence[Outgoing]) -> None:
        self.asked += 1
        await self.open.wait()
        if self.down is not None:
            failed = list(self.down) or range(len(messages))
            raise NotAcknowledged(failed, len(messages), "timed out")
        self.sent += messages

    @property
    def users(self) -> list[dict[str, Any]]:
        """Who was sent."""
        return [json.loads(message.value or b"")["user"] for message in self.sent]


class StarterServer:
    """The starter behind a web server. `looked_up` are the questions which ids exist, `there` are the sagas that do."""

    def __init__(
        self,
        client: Any,
        producer: FakeBatchingProducer,
        starter: Starter,
        looked_up: Sequence[Any] = (),
        there: dict[str, ExistingSaga] | None = None,
    ) -> None:
        self.client, self.producer, self.starter, self.looked_up = (
            client,
            producer,
            starter,
            looked_up,
        )
        self.there = {} if there is None else there

    async def post(self, body: Any, key: str | None = None, kind: str = "application/json", **headers: str) -> Any:
        """A request; what is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": kind, **headers} | ({"Idempotency-Key": key} if key else {})
        return await self.client.post("/users", data=data, headers=named)

    async def at_once(self, *bodies: Any, key: str) -> list[Any]:
        """The answers to several requests with this key, of which none is answered before all have been heard."""
        self.producer.open.clear()
        posts = [asyncio.create_task(self.post(body, key=key)) for body in bodies]
        async with asyncio.timeout(5):
            while self.heard < len(bodies):
                await asyncio.sleep(0.005)
        self.producer.open.set()
        return await asyncio.gather(*posts)

    @property
    def heard(self) -> int:
        """Requests that have come as far as to ask which of their ids exist."""
        return len(self.looked_up)


@asynccontextmanager
async def opened() -> AsyncIterator[StarterServer]:
    """With room for everybody; Bob is there already."""
    there = {"taken": ExistingSaga(user=User("Bob", "bob@example.com", "Sales"))}
    looked_up: list[Sequence[str]] = []

    async def known(ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        looked_up.append(ids)
        return {id: there[id] for id in ids if id in there}

    producer = FakeBatchingProducer()
    starter = Starter(producer, "console", known=known)
    async with serving(lambda app: app.router.add_post("/users", starter.handle)) as client:
        yield StarterServer(client, producer, starter, looked_up, there)


class SharedTopics:
    """What the broker has, and what an index or a table knows of it: all that is sent, in whichever process."""

    def __init__(self) -> None:
        self.producer = FakeBatchingProducer()

    @property
    def rows(self) -> dict[str, Row]:
        messages = [decode(Message, message.value) for message in self.producer.sent]
        return {each.id: machine.row_waiting_for(ONBOARDING, "new-user", each, at(0)) for each in messages}

    async def known(self, ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        return {id: existing(row, at(1)) for id, row in self.rows.items() if id in ids}

    async def key_taken(self, mark: str) -> bool:
        marks = [row.idempotency or "" for row in self.rows.values()]
        return any(each.startswith(key_part(mark)) and each != mark for each in marks)

    @asynccontextmanager
    async def process(self, by_key: bool = True) -> AsyncIterator[StarterServer]:
        """A console that has just been started; without `by_key` a Provisioner, which finds rows by their ids only."""
        finds = {"key_taken": self.key_taken} if by_key else {}
        starter = Starter(self.producer, "console", known=self.known, **finds)
        async with serving(lambda app: app.router.add_post("/users", starter.handle)) as client:
            yield StarterServer(client, self.producer, starter)
