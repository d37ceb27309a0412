"""Runs a console with its web server in the test's process, against any broker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.test_utils import TestClient

from devtools.wait import eventually
from saga_app.console.console import Console
from saga_app.settings import Settings
from saga_app.stream import Message, NotAcknowledged, Sender
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.web_server import serving

#: Timeout for writing records, including the recovery of a broker that was killed (seconds).
WRITE_TIMEOUT_S = 40.0


class ConsoleClient:
    """An HTTP client of a running console."""

    def __init__(self, console: Console, client: TestClient[web.Request, web.Application]) -> None:
        self.console, self.client = console, client

    async def get(self, path: str) -> Any:
        """The decoded body of a response, whose status must be 200."""
        async with self.client.get(path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def wait_until_ready(self, within_s: float = 15.0) -> "ConsoleClient":
        """Wait until the console has read the backlog; returns this client."""

        async def is_ready() -> bool:
            return self.console.not_ready() is None

        await eventually(is_ready, within_s, "the console has not read the backlog")
        return self

    async def wait_for_counts(self, expected: dict[str, int], within_s: float = 15.0) -> None:
        """Wait until the index holds exactly this number of sagas in each state."""

        async def is_expected() -> bool:
            counts = (await self.get("/api/sagas?limit=1"))["total"], self.console.index.counts()
            return counts == (sum(expected.values()), expected)

        await eventually(is_expected, within_s, f"the index does not hold {expected}")

    @asynccontextmanager
    async def listen(self, **query: str) -> AsyncIterator["EventStream"]:
        """Connect to the event stream."""
        async with self.client.get("/api/stream", params=query) as response:
            assert response.status == 200
            yield EventStream(response.content)


class EventStream:
    """An open event stream."""

    def __init__(self, content: StreamReader) -> None:
        self.content = content

    async def next(self, *kinds: str, within_s: float = 15.0) -> tuple[str, str, Any]:
        """Kind, id and data of the next event of these kinds; others are skipped. Raises `TimeoutError`."""
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
    """Run a console that reads from this broker. `index`: URL of its database. `given`: further settings."""
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
    """Write records in their order to their topics and partitions.

    Unacknowledged ones are sent again until `WRITE_TIMEOUT_S`, because the broker may just have been restarted.
    """
    to_write = records.records if isinstance(records, FakeTopics) else list(records)
    messages = [Message(r.topic, r.key, r.value, r.headers, r.partition) for r in to_write]
    deadline = time.monotonic() + WRITE_TIMEOUT_S
    async with Sender(bootstrap) as sender:
        while messages:
            try:
                return await sender.send_all(messages)
            except NotAcknowledged as error:
                if time.monotonic() > deadline:
                    raise
                messages = [messages[number] for number in error.failed]
