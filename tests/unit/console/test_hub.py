"""The stream: nobody misses anything, however late, slow or often interrupted, and the server's memory stays small."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from devtools.wait import eventually
from saga_app.console.http import hub as hub_module
from saga_app.console.http.hub import Hub
from saga_app.console.index.query import Queries
from tests.builders import at
from tests.fakes.topics import FakeTopics
from tests.unit.console.filled_index import FilledIndex
from tests.web_server import problem_of, route, serving


@dataclass
class Heard:
    """One event."""

    kind: str
    id: str
    data: Any


class Listener:
    """A client of the stream, as a browser is one."""

    def __init__(self, content: Any) -> None:
        self.content = content

    async def next(self, *kinds: str) -> Heard:
        """The next event of these kinds."""
        async with asyncio.timeout(5):
            while True:
                heard = await self._event()
                if heard is not None and (not kinds or heard.kind in kinds):
                    return heard

    async def _event(self) -> Heard | None:
        lines = (await self.content.readuntil(b"\n\n")).decode().splitlines()
        fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
        return Heard(fields["event"], fields["id"], json.loads(fields["data"])) if "event" in fields else None


class Stage:
    """A hub on a real index, and its clients."""

    def __init__(self, reading: FilledIndex, client: Any, hub: Hub) -> None:
        self.reading, self.client, self.hub = reading, client, hub

    def tell(self, logs: FakeTopics) -> None:
        """What the reader does with a batch."""
        changes = self.reading.read(logs.records)
        self.hub.publish(self.reading.index.epoch, self.reading.fold.seq, changes.events)

    @asynccontextmanager
    async def listen(
        self, trace: str = "on", last_id: str | None = None, header: bool = True
    ) -> AsyncIterator[Listener]:
        """Connect."""
        headers = {"Last-Event-ID": last_id} if last_id and header else {}
        query = {"trace": trace} | ({"last_event_id": last_id} if last_id and not header else {})
        async with self.client.get("/s", params=query, headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            yield Listener(answer.content)


MakeStage = Callable[..., Any]


@pytest.fixture
async def stage(on_sqlite: FilledIndex) -> AsyncIterator[Stage]:
    """With a ring of 50 events."""
    queries = Queries(on_sqlite.index, lambda: at(60))
    hub = Hub(queries.changed_after, lambda: at(60), ring=50)
    hub.publish(on_sqlite.index.epoch, 0, [])
    async with serving(route("GET", "/s", hub.stream)) as client:
        yield Stage(on_sqlite, client, hub)
        hub.stop()


def sagas(*ids: str, **how: Any) -> FakeTopics:
    """So many sagas."""
    logs = FakeTopics()
    for id in ids:
        logs.saga(id, **how)
    return logs


async def test_with_the_trace_on_every_step_is_seen_and_then_the_end(stage: Stage) -> None:
    async with stage.listen() as listener:
        stage.tell(sagas("ada"))
        heard = [await listener.next("step", "saga") for _ in range(9)]
    assert [h.kind for h in heard] == ["step"] * 8 + ["saga"]
    assert heard[1].data["entry"]["kind"] == "done"
    assert heard[1].data["saga"]["device_id"] == "LT-1"
    assert heard[-1].data["state"] == "completed"
    assert [int(h.id.split("-")[1]) for h in heard] == list(range(1, 10))


async def test_with_the_trace_off_only_the_end_is_seen(stage: Stage) -> None:
    async with stage.listen("off") as listener:
        stage.tell(sagas("ada", steps=2))
        stage.tell(sagas("ada"))
        heard = await listener.next("step", "saga")
    assert (heard.kind, heard.data["id"], heard.data["state"]) == ("saga", "ada", "completed")


async def test_an_event_is_made_once_for_all_clients(stage: Stage) -> None:
    async with stage.listen() as one, stage.listen() as other:
        stage.tell(sagas("ada", steps=0))
        assert await one.next("step") == await other.next("step")
    assert [event.json is not None for event in stage.hub.events] == [True]


@pytest.mark.parametrize("header", [True, False])
async def test_a_client_that_comes_back_hears_what_it_missed(stage: Stage, header: bool) -> None:
    async with stage.listen() as listener:
        stage.tell(sagas("ada", steps=0))
        last = (await listener.next("step")).id
    stage.tell(sagas("ada"))
    async with stage.listen("on", last, header) as listener:
        heard = [await listener.next("step", "saga", "reset") for _ in range(8)]
    assert [int(h.id.split("-")[1]) for h in heard] == list(range(2, 10))


async def test_one_that_was_away_for_long_hears_of_every_saga_from_the_index(stage: Stage) -> None:
    stage.tell(sagas("first"))
    last = stage.hub.cursor
    ids = [f"s{number}" for number in range(40)]
    for id in ids:
        stage.tell(sagas(id))
    stage.tell(sagas("under-way", steps=1))
    assert len(stage.hub.events) == 50
    async with stage.listen("off", last) as listener:
        assert [(await listener.next("saga", "reset")).data["id"] for _ in ids] == ids
    async with stage.listen("on", last) as listener:
        ended, running = [], None
        while running is None:
            heard = await listener.next("saga", "step", "reset")
            ended += [heard.data["id"]] if heard.kind == "saga" else []
            if heard.kind == "step" and heard.data["saga"]["id"] == "under-way":
                running = heard
    assert ended == ids
    assert running.data["saga"]["device_id"] == "LT-1" or running.data["entry"]["kind"] == "requested"


async def test_a_restarted_console_goes_on_where_the_client_was(stage: Stage) -> None:
    stage.tell(sagas("ada"))
    last = stage.hub.cursor
    stage.tell(sagas("bob"))
    again = Hub(stage.hub.resume, stage.hub.now)
    again.publish(stage.reading.index.epoch, stage.reading.fold.seq, [])
    async with serving(route("GET", "/s", again.stream)) as client:
        async with Stage(stage.reading, client, again).listen("off", last) as listener:
            assert (await listener.next("saga", "reset")).data["id"] == "bob"
        again.stop()


async def test_nothing_falls_between_the_list_and_the_stream(stage: Stage) -> None:
    for round in range(20):
        cursor = stage.hub.cursor
        stage.tell(sagas(f"s{round}"))
        async with stage.listen("off", cursor) as listener:
            assert (await listener.next("saga")).data["id"] == f"s{round}"


@pytest.mark.parametrize("last", ["old-7", "nonsense", "-", "12", "{epoch}-999", "{epoch}-x", "{epoch}-²"])
async def test_what_cannot_be_resumed_is_reset(stage: Stage, last: str) -> None:
    stage.tell(sagas("ada"))
    last = last.format(epoch=stage.reading.index.epoch)
    async with stage.listen("on", last, header=False) as listener:
        assert (await listener.next()).kind == "reset"
        stage.tell(sagas("bob", steps=0))
        assert (await listener.next("step")).data["saga"]["id"] == "bob"


async def test_a_rebuild_resets_who_listens(stage: Stage) -> None:
    stage.tell(sagas("ada"))
    async with stage.listen() as listener:
        stage.reading.index.rebuild("other")
        stage.reading.restart()
        stage.hub.publish(stage.reading.index.epoch, 0, [])
        assert (await listener.next()).kind == "reset"
        stage.tell(sagas("ada", steps=0))
        assert (await listener.next("step")).id == f"{stage.reading.index.epoch}-1"


async def test_the_figures_come_as_they_are_made_and_move_nobody(stage: Stage) -> None:
    stage.tell(sagas("ada"))
    async with stage.listen() as listener:
        stage.hub.tick({"in_flight": 7})
        heard = await listener.next("stats")
    assert (heard.data, heard.id) == ({"in_flight": 7}, stage.hub.cursor)


async def test_a_silent_line_is_kept_open(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "KEEPALIVE_S", 0.05)
    async with stage.client.get("/s") as answer:
        assert await asyncio.wait_for(answer.content.readuntil(b"keep-alive\n\n"), 5)


async def test_a_client_that_takes_nothing_is_cut_off(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "WRITE_TIMEOUT_S", 0.2)
    _reader, writer = await asyncio.open_connection(stage.client.host, stage.client.port, limit=1)
    writer.write(b"GET /s?trace=on HTTP/1.1\r\nHost: localhost\r\n\r\n")

    async def is_heard() -> bool:
        return stage.hub.clients == 1

    async def is_gone() -> bool:
        stage.hub.tick({"padding": "x" * 1_000_000})
        return stage.hub.clients == 0

    await eventually(is_heard, 5, "the client is connected")
    await eventually(is_gone, 10, "the client is cut off")
    writer.close()


async def test_too_many_clients_are_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_CLIENTS", 1)
    async with stage.listen():
        await problem_of(await stage.client.get("/s"), 429)


async def test_trace_is_on_or_off(stage: Stage) -> None:
    body = await problem_of(await stage.client.get("/s?trace=maybe"), 422)
    assert body["errors"][0]["field"] == "trace"


async def test_a_stop_lets_everybody_go_at_once(stage: Stage) -> None:
    async with stage.client.get("/s") as answer:
        stage.hub.stop()
        await asyncio.wait_for(answer.read(), 2)

    async def empty() -> bool:
        return stage.hub.clients == 0

    await eventually(empty, 2, "nobody listens any more")
