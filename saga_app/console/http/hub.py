"""The event stream (server-sent events). All clients share one ring buffer of serialized events.

A client that has fallen behind the ring, or resumes at an older event, is served from the index, so memory is bounded.
A client that accepts no data for a while is disconnected; browsers reconnect and resume.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from saga_app.console.index.fold import Event
from saga_app.saga import json_text
from saga_app.saga.messages import Row
from saga_app.web.problem import Fault, Problem
from saga_app.web.saga_view import entry_view, view

#: Number of events in memory, and maximum number of events in one write.
RING_SIZE, CHUNK_SIZE = 20_000, 500

#: Maximum number of clients, timeout of a write, and interval of keep-alive comments (seconds).
MAX_CLIENTS, WRITE_TIMEOUT_S, KEEPALIVE_S = 200, 15.0, 10.0


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A change of a saga as the index stores it: its row and its latest trace entry."""

    seq: int
    row: Row
    overtook: int | None
    entry: Any


#: Called with (seq, trace, limit): the sagas that changed after event number seq, oldest change first, at most limit.
#: Unfinished sagas are included only if `trace` is true.
Resume = Callable[[int, bool, int], Awaitable[Sequence[StoredChange]]]


class Hub:
    """Distributes events to clients. `publish` and `tick` must be called in the event loop; `stream` is the handler.

    `resume`: reads changes from the index. `now`: returns the current time. `ring`: number of events in memory.
    """

    def __init__(self, resume: Resume, now: Callable[[], datetime], ring: int = RING_SIZE) -> None:
        self.resume, self.now = resume, now
        self.epoch, self.last = "", 0
        self.events: deque[Event] = deque(maxlen=ring)
        self.stats: dict[str, Any] = {}
        self.ticks, self.clients = 0, 0
        self.stopping = False
        self.news = asyncio.Event()

    def publish(self, epoch: str, last: int, events: Sequence[Event]) -> None:
        """Publish events that the index has committed, up to event number `last`.

        A new `epoch` means that the index was rebuilt; clients then get a reset event.
        """
        if epoch != self.epoch or (not events and last != self.last):
            self.events.clear()
        self.epoch, self.last = epoch, last
        self.events.extend(events)
        self._wake()

    def tick(self, stats: dict[str, Any]) -> None:
        """Publish new statistics."""
        self.stats, self.ticks = stats, self.ticks + 1
        self._wake()

    def stop(self) -> None:
        """Disconnect all clients."""
        self.stopping = True
        self._wake()

    def _wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    @property
    def cursor(self) -> str:
        """The id of the last event, from which a client can resume."""
        return f"{self.epoch}-{self.last}"

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Handle `GET /api/stream`. Raises `Problem` 422 or 429."""
        trace = _wants_trace(request)
        if self.clients >= MAX_CLIENTS:
            raise Problem(429, f"the limit of {MAX_CLIENTS} stream clients is reached", headers={"Retry-After": "30"})
        given = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
        client = _Client(self, trace, given)
        response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        if request.method == "HEAD":
            return response
        self.clients += 1
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            while not self.stopping and (text := await client.next()):
                await asyncio.wait_for(response.write(text), WRITE_TIMEOUT_S)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()  # it accepts no data: disconnect it, its browser will reconnect
        finally:
            self.clients -= 1
        return response

    def text(self, event: Event, trace: bool) -> bytes:
        """An event serialized for the stream; empty for a step event without `trace`."""
        if event.entry is not None and not trace:
            return b""
        if event.json is None:
            shown = view(event.row, event.at, event.overtook)
            event.json = json_text.dumps({"entry": entry_view(event.entry), "saga": shown} if event.entry else shown)
        return _text("step" if event.entry else "saga", self.epoch, event.seq, event.json)

    def stored_text(self, kept: StoredChange) -> bytes:
        """A change from the index, serialized for the stream: the current row with its latest trace entry."""
        shown = view(kept.row, self.now(), kept.overtook)
        if kept.row.ended:
            return _text("saga", self.epoch, kept.seq, json_text.dumps(shown))
        return _text("step", self.epoch, kept.seq, json_text.dumps({"entry": kept.entry, "saga": shown}))


class _Client:
    """The position of one client in the stream."""

    def __init__(self, hub: Hub, trace: bool, last_id: str | None) -> None:
        self.hub, self.trace = hub, trace
        self.epoch, _, number = (last_id or hub.cursor).rpartition("-")
        self.at = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else hub.last + 1
        self.tick = hub.ticks if not hub.stats else -1

    async def next(self) -> bytes:
        """The next bytes to write; waits for events. Empty only if the hub stops."""
        while not self.hub.stopping:
            news = self.hub.news
            text = self._reset() or await self._events() or self._stats()
            if text:
                return text
            try:
                await asyncio.wait_for(news.wait(), KEEPALIVE_S)
            except TimeoutError:
                return b": keep-alive\n\n"
        return b""

    def _reset(self) -> bytes:
        """A reset event if the client's position is of another epoch or in the future, so that its gap is unknown."""
        hub = self.hub
        if not hub.epoch or (self.epoch == hub.epoch and self.at <= hub.last):
            return b""
        self.epoch, self.at = hub.epoch, hub.last
        return _text("reset", hub.epoch, hub.last, b"{}")

    async def _events(self) -> bytes:
        """The next events for this client; empty if there are none."""
        text = b""
        while not text and self.at < self.hub.last and self.epoch == self.hub.epoch:
            events = self.hub.events
            if events and events[0].seq <= self.at + 1:
                text = self._from_ring(events)
            else:
                text = await self._from_index()
        return text

    def _from_ring(self, events: deque[Event]) -> bytes:
        chunk = list(_slice(events, self.at + 1 - events[0].seq, CHUNK_SIZE))
        self.at = chunk[-1].seq
        return b"".join(self.hub.text(event, self.trace) for event in chunk)

    async def _from_index(self) -> bytes:
        """The next changes from the index, for a position before the start of the ring."""
        known = self.hub.last
        found = await self.hub.resume(self.at, self.trace, CHUNK_SIZE)
        self.at = found[-1].seq if found else self.at
        if len(found) < CHUNK_SIZE:
            self.at = max(self.at, known)
        return b"".join(self.hub.stored_text(kept) for kept in found)

    def _stats(self) -> bytes:
        if self.tick == self.hub.ticks or not self.hub.stats:
            return b""
        self.tick = self.hub.ticks
        return _text("stats", self.epoch, self.at, json_text.dumps(self.hub.stats))


def _slice(events: deque[Event], start: int, count: int) -> Iterator[Event]:
    """A slice of a deque, indexed from its end, where access is fast."""
    behind = len(events) - start
    for place in range(behind, max(0, behind - count), -1):
        yield events[-place]


def _wants_trace(request: web.Request) -> bool:
    given = request.query.get("trace", "on")
    if given not in ("on", "off"):
        fault: Fault = {"index": None, "field": "trace", "message": "must be on or off"}
        raise Problem(422, "trace must be on or off", errors=[fault])
    return given == "on"


def _text(kind: str, epoch: str, seq: int, data: bytes) -> bytes:
    return b"event: %b\nid: %b-%d\ndata: %b\n\n" % (kind.encode(), epoch.encode(), seq, data)
