"""A console of the tests' own: in this process, with its web server, against any broker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from devtools.wait import eventually
from saga_app.console.console import Console
from saga_app.settings import Settings
from saga_app.stream import Message, NotAcknowledged, Sender
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.web_server import serving

#: How long records may take to be written, the time included that a broker needs after it was killed (seconds).
WRITTEN_WITHIN_S = 40.0


class ConsoleClient:
    """Asks a running console."""

    def __init__(self, console: Console, client: Any) -> None:
        self.console, self.client = console, client

    async def get(self, path: str) -> Any:
        """The body of a good answer."""
        async with self.client.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def ready(self, within_s: float = 15.0) -> "ConsoleClient":
        """Wait until it has caught up."""

        async def is_ready() -> bool:
            return self.console.not_ready() is None

        await eventually(is_ready, within_s, "the console is ready")
        return self

    async def counts(self, expected: dict[str, int], within_s: float = 15.0) -> None:
        """Wait until there are so many sagas in these states."""

        async def are_there() -> bool:
            counts = (await self.get("/api/sagas?limit=1"))["total"], self.console.index.counts()
            return counts == (sum(expected.values()), expected)

        await eventually(are_there, within_s, f"{expected}")

    @asynccontextmanager
    async def listen(self, **query: str) -> AsyncIterator["EventStream"]:
        """Connect to the stream."""
        async with self.client.get("/api/stream", params=query) as answer:
            assert answer.status == 200
            yield EventStream(answer.content)


class EventStream:
    """An open stream of events."""

    def __init__(self, content: Any) -> None:
        self.content = content

    async def next(self, *kinds: str, within_s: float = 15.0) -> tuple[str, str, Any]:
        """Kind, id and data of the next event of these kinds."""
        async with asyncio.timeout(within_s):
            while True:
                lines = (await self.content.readuntil(b"\n\n")).decode().splitlines()
                fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
                if fields.get("event") in kinds:
                    return fields["event"], fields["id"], json.loads(fields["data"])


@asynccontextmanager
async def running(
    bootstrap: str, index: str | None = None, embedded: bool = True, **given: Any
) -> AsyncIterator[ConsoleClient]:
    """A console that reads this broker."""
    values = {"broker": f"kafka://{bootstrap}", "embedded": embedded, "partitions": PARTITIONS, "lag": "0", **given}
    settings = Settings(**values)
    console = Console(settings, index)
    async with serving(console.add_routes, settings) as client:
        await console.start()
        try:
            yield ConsoleClient(console, client)
        finally:
            await console.stop()


async def write(bootstrap: str, records: FakeTopics | Iterable[FakeRecord]) -> None:
    """Put these records where they belong, in their order; a broker that has just come back may need its time."""
    raws = records.written if isinstance(records, FakeTopics) else list(records)
    left = [Message(r.topic, r.key, r.value, r.headers, r.partition) for r in raws]
    deadline = time.monotonic() + WRITTEN_WITHIN_S
    async with Sender(bootstrap) as sender:
        while left:
            try:
                return await sender.send_all(left)
            except NotAcknowledged as error:
                if time.monotonic() > deadline:
                    raise
                left = [left[number] for number in error.failed]
