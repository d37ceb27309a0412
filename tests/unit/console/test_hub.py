"""The event stream: clients receive every change, also after interruptions, and the server's memory is bounded."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import TestClient

from devtools.wait import eventually
from saga_app.console.http import hub as hub_module
from saga_app.console.http.hub import Hub
from saga_app.console.index.query import Queries
from tests.builders import at
from tests.fakes.topics import ALL_STEPS, FakeTopics
from tests.unit.console.index_harness import IndexHarness
from tests.web_server import problem_of, route, serving


@dataclass
class ReceivedEvent:
    """An event of the stream, decoded."""

    kind: str
    id: str
    data: Any

    @property
    def seq(self) -> int:
        """The event number in the id."""
        return int(self.id.split("-")[1])


class Listener:
    """A client of the event stream."""

    def __init__(self, content: StreamReader) -> None:
        self.content = content

    async def next(self, *kinds: str) -> ReceivedEvent:
        """The next event of these kinds, or of any; others are skipped. Raises `TimeoutError` after 5 s."""
        async with asyncio.timeout(5):
            while True:
                event = await self._read_event()
                if event is not None and (not kinds or event.kind in kinds):
                    return event

    async def _read_event(self) -> ReceivedEvent | None:
        lines = (await self.content.readuntil(b"\n\n")).decode().splitlines()
        fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
        return ReceivedEvent(fields["event"], fields["id"], json.loads(fields["data"])) if "event" in fields else None


class StreamHarness:
    """A hub on a real index, with a client of its running server."""

    def __init__(self, index: IndexHarness, client: TestClient[web.Request, web.Application], hub: Hub) -> None:
        self.index, self.client, self.hub = index, client, hub

    def publish(self, topics: FakeTopics) -> None:
        """Index all records of these topics as one batch, and publish its events."""
        changes = self.index.read(topics.sorted_records)
        self.hub.publish(self.index.index.epoch, self.index.fold.seq, changes.events)

    @asynccontextmanager
    async def listen(
        self, trace: str = "on", last_id: str | None = None, header: bool = True
    ) -> AsyncIterator[Listener]:
        """Connect to the stream; resume after `last_id`, which is sent as a header or in the query."""
        headers = {"Last-Event-ID": last_id} if last_id and header else {}
        query = {"trace": trace} | ({"last_event_id": last_id} if last_id and not header else {})
        async with self.client.get("/s", params=query, headers=headers) as response:
            assert response.content_type == "text/event-stream"
            yield Listener(response.content)


@pytest.fixture
async def stream(sqlite_harness: IndexHarness) -> AsyncIterator[StreamHarness]:
    """A hub whose ring holds 50 events, with an empty index."""
    queries = Queries(sqlite_harness.index, lambda: at(60))
    hub = Hub(queries.changed_after, lambda: at(60), ring=50)
    hub.publish(sqlite_harness.index.epoch, 0, [])
    async with serving(route("GET", "/s", hub.stream)) as client:
        yield StreamHarness(sqlite_harness, client, hub)
        hub.stop()


def sagas(*ids: str, steps: int = ALL_STEPS) -> FakeTopics:
    """Topics with the records of these sagas."""
    topics = FakeTopics()
    for id in ids:
        topics.run_saga(id, steps=steps)
    return topics


async def test_with_trace_a_client_receives_every_step_and_the_end(stream: StreamHarness) -> None:
    async with stream.listen() as listener:
        stream.publish(sagas("ada"))
        events = [await listener.next("step", "saga") for _ in range(9)]
    assert [event.kind for event in events] == ["step"] * 8 + ["saga"]
    assert events[1].data["entry"]["kind"] == "done"
    assert events[1].data["saga"]["device_id"] == "LT-1"
    assert events[-1].data["state"] == "completed"
    assert [event.seq for event in events] == list(range(1, 10))


async def test_without_trace_a_client_receives_only_the_end(stream: StreamHarness) -> None:
    async with stream.listen("off") as listener:
        stream.publish(sagas("ada", steps=2))
        stream.publish(sagas("ada"))
        event = await listener.next("step", "saga")
    assert (event.kind, event.data["id"], event.data["state"]) == ("saga", "ada", "completed")


async def test_an_event_is_serialized_once_for_all_clients(stream: StreamHarness) -> None:
    async with stream.listen() as one, stream.listen() as other:
        stream.publish(sagas("ada", steps=0))
        assert await one.next("step") == await other.next("step")
    assert [event.json is not None for event in stream.hub.events] == [True]


@pytest.mark.parametrize("header", [True, False])
async def test_a_client_that_reconnects_receives_the_missed_events(stream: StreamHarness, header: bool) -> None:
    async with stream.listen() as listener:
        stream.publish(sagas("ada", steps=0))
        last = (await listener.next("step")).id
    stream.publish(sagas("ada"))
    async with stream.listen("on", last, header) as listener:
        events = [await listener.next("step", "saga", "reset") for _ in range(8)]
    assert [event.seq for event in events] == list(range(2, 10))


async def test_a_client_behind_the_ring_receives_every_saga_from_the_index(stream: StreamHarness) -> None:
    stream.publish(sagas("first"))
    last = stream.hub.cursor
    ids = [f"s{number}" for number in range(40)]
    for id in ids:
        stream.publish(sagas(id))
    stream.publish(sagas("under-way", steps=1))
    assert len(stream.hub.events) == 50
    async with stream.listen("off", last) as listener:
        assert [(await listener.next("saga", "reset")).data["id"] for _ in ids] == ids
    async with stream.listen("on", last) as listener:
        ended, running = [], None
        while running is None:
            event = await listener.next("saga", "step", "reset")
            ended += [event.data["id"]] if event.kind == "saga" else []
            if event.kind == "step" and event.data["saga"]["id"] == "under-way":
                running = event
    assert ended == ids
    assert running.data["saga"]["device_id"] == "LT-1" or running.data["entry"]["kind"] == "requested"


async def test_a_client_resumes_at_a_restarted_console(stream: StreamHarness) -> None:
    stream.publish(sagas("ada"))
    last = stream.hub.cursor
    stream.publish(sagas("bob"))
    restarted = Hub(stream.hub.resume, stream.hub.now)
    restarted.publish(stream.index.index.epoch, stream.index.fold.seq, [])
    async with serving(route("GET", "/s", restarted.stream)) as client:
        async with StreamHarness(stream.index, client, restarted).listen("off", last) as listener:
            assert (await listener.next("saga", "reset")).data["id"] == "bob"
        restarted.stop()


async def test_no_event_is_lost_between_the_list_and_the_stream(stream: StreamHarness) -> None:
    for number in range(20):
        cursor = stream.hub.cursor
        stream.publish(sagas(f"s{number}"))
        async with stream.listen("off", cursor) as listener:
            assert (await listener.next("saga")).data["id"] == f"s{number}"


@pytest.mark.parametrize("last", ["old-7", "nonsense", "-", "12", "{epoch}-999", "{epoch}-x", "{epoch}-²"])
async def test_a_client_with_an_unusable_event_id_is_reset(stream: StreamHarness, last: str) -> None:
    stream.publish(sagas("ada"))
    last = last.format(epoch=stream.index.index.epoch)
    async with stream.listen("on", last, header=False) as listener:
        assert (await listener.next()).kind == "reset"
        stream.publish(sagas("bob", steps=0))
        assert (await listener.next("step")).data["saga"]["id"] == "bob"


async def test_a_rebuild_resets_connected_clients(stream: StreamHarness) -> None:
    stream.publish(sagas("ada"))
    async with stream.listen() as listener:
        stream.index.index.rebuild("other")
        stream.index.restart()
        stream.hub.publish(stream.index.index.epoch, 0, [])
        assert (await listener.next()).kind == "reset"
        stream.publish(sagas("ada", steps=0))
        assert (await listener.next("step")).id == f"{stream.index.index.epoch}-1"


async def test_statistics_are_events_that_do_not_advance_the_cursor(stream: StreamHarness) -> None:
    stream.publish(sagas("ada"))
    async with stream.listen() as listener:
        stream.hub.tick({"in_flight": 7})
        event = await listener.next("stats")
    assert (event.data, event.id) == ({"in_flight": 7}, stream.hub.cursor)


async def test_an_idle_connection_is_kept_alive(stream: StreamHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "KEEPALIVE_S", 0.05)
    async with stream.client.get("/s") as response:
        assert await asyncio.wait_for(response.content.readuntil(b"keep-alive\n\n"), 5)


async def test_a_client_that_does_not_read_is_disconnected(
    stream: StreamHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "WRITE_TIMEOUT_S", 0.2)
    _reader, writer = await asyncio.open_connection(stream.client.host, stream.client.port, limit=1)
    writer.write(b"GET /s?trace=on HTTP/1.1\r\nHost: localhost\r\n\r\n")

    async def is_connected() -> bool:
        return stream.hub.clients == 1

    async def is_disconnected() -> bool:
        stream.hub.tick({"padding": "x" * 1_000_000})
        return stream.hub.clients == 0

    await eventually(is_connected, 5, "the client is not connected")
    await eventually(is_disconnected, 10, "the client is still connected")
    writer.close()


async def test_clients_above_the_limit_are_refused(stream: StreamHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_CLIENTS", 1)
    async with stream.listen():
        await problem_of(await stream.client.get("/s"), 429)


async def test_an_invalid_value_of_trace_is_refused(stream: StreamHarness) -> None:
    body = await problem_of(await stream.client.get("/s?trace=maybe"), 422)
    assert body["errors"][0]["field"] == "trace"


async def test_stopping_the_hub_disconnects_all_clients_immediately(stream: StreamHarness) -> None:
    async with stream.client.get("/s") as response:
        stream.hub.stop()
        await asyncio.wait_for(response.read(), 2)

    async def has_no_clients() -> bool:
        return stream.hub.clients == 0

    await eventually(has_no_clients, 2, "the client is still connected")
