"""Server-sent events: each is made once for all clients, and every client has just a place in one ring of events.

A client that falls behind, or comes back, is served from the index when the ring does not reach back that far; so
memory is bounded whatever clients do. A client that takes nothing for a while is cut off; browsers resume.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from saga_app.console.index.fold import Event
from saga_app.saga.messages import Row
from saga_app.web.problem import Fault, Problem
from saga_app.web.saga_view import view

#: Events kept in memory, and events in one write.
RING, CHUNK = 20_000, 500

#: How many clients at once; how long one may take to accept a write; how long the line may be silent (seconds).
CLIENTS, WRITE_S, SILENT_S = 200, 15.0, 10.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What the index holds of a saga that changed: its row and the latest entry about it."""

    seq: int
    row: Row
    overtook: int | None
    entry: Any


#: The sagas that changed after event number seq, oldest change first, up to a limit; `trace` adds those under way.
Resume = Callable[[int, bool, int], Awaitable[Sequence[Kept]]]


class Hub:
    """`publish` and `tick` are called in the event loop, `stream` is the handler."""

    def __init__(self, resume: Resume, now: Callable[[], str], ring: int = RING) -> None:
        self.resume, self.now = resume, now
        self.epoch, self.last = "", 0
        self.events: deque[Event] = deque(maxlen=ring)
        self.stats: dict[str, Any] = {}
        self.ticks, self.clients = 0, 0
        self.stopping = False
        self.news = asyncio.Event()

    def publish(self, epoch: str, last: int, events: Sequence[Event]) -> None:
        """What the index has committed, up to event number `last`."""
        if epoch != self.epoch or (not events and last != self.last):
            self.events.clear()
        self.epoch, self.last = epoch, last
        self.events.extend(events)
        self._wake()

    def tick(self, stats: dict[str, Any]) -> None:
        """The figures of this second."""
        self.stats, self.ticks = stats, self.ticks + 1
        self._wake()

    def stop(self) -> None:
        """Let all clients go."""
        self.stopping = True
        self._wake()

    def _wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    @property
    def cursor(self) -> str:
        """The id of the last event: a client that resumes there misses nothing that comes after."""
        return f"{self.epoch}-{self.last}"

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """`GET /api/stream`."""
        trace = _switch(request)
        if self.clients >= CLIENTS:
            raise Problem(429, f"{CLIENTS} clients listen already", headers={"Retry-After": "30"})
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
                await asyncio.wait_for(response.write(text), WRITE_S)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()  # it takes nothing: cut it off, its browser comes back
        finally:
            self.clients -= 1
        return response

    def text(self, event: Event, trace: bool) -> bytes:
        """An event on the wire, or nothing if this client does not want it."""
        if event.entry is not None and not trace:
            return b""
        if event.json is None:
            shown = view(event.row, event.at, event.overtook)
            event.json = orjson.dumps({"entry": event.entry, "saga": shown} if event.entry else shown)
        return _text("step" if event.entry else "saga", self.epoch, event.seq, event.json)

    def kept_text(self, kept: Kept) -> bytes:
        """The same for a saga out of the index: as it is now, with the latest that was told about it."""
        shown = view(kept.row, self.now(), kept.overtook)
        if kept.row.ended:
            return _text("saga", self.epoch, kept.seq, orjson.dumps(shown))
        return _text("step", self.epoch, kept.seq, orjson.dumps({"entry": kept.entry, "saga": shown}))


class _Client:
    """Where one client is."""

    def __init__(self, hub: Hub, trace: bool, last_id: str | None) -> None:
        self.hub, self.trace = hub, trace
        self.epoch, _, number = (last_id or hub.cursor).rpartition("-")
        self.at = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else hub.last + 1
        self.tick = hub.ticks if not hub.stats else -1

    async def next(self) -> bytes:
        """What to write next; waits until there is something. Empty only when the hub stops."""
        while not self.hub.stopping:
            news = self.hub.news
            text = self._reset() or await self._events() or self._stats()
            if text:
                return text
            try:
                await asyncio.wait_for(news.wait(), SILENT_S)
            except TimeoutError:
                return b": still here\n\n"
        return b""

    def _reset(self) -> bytes:
        """Another epoch, or a number that has not been: nobody can say what is missing."""
        hub = self.hub
        if not hub.epoch or (self.epoch == hub.epoch and self.at <= hub.last):
            return b""
        self.epoch, self.at = hub.epoch, hub.last
        return _text("reset", hub.epoch, hub.last, b"{}")

    async def _events(self) -> bytes:
        """The next of those that this client wants, if there are any."""
        text = b""
        while not text and self.at < self.hub.last and self.epoch == self.hub.epoch:
            events = self.hub.events
            if events and events[0].seq <= self.at + 1:
                text = self._from_ring(events)
            else:
                text = await self._from_index()
        return text

    def _from_ring(self, events: deque[Event]) -> bytes:
        chunk = list(_slice(events, self.at + 1 - events[0].seq, CHUNK))
        self.at = chunk[-1].seq
        return b"".join(self.hub.text(event, self.trace) for event in chunk)

    async def _from_index(self) -> bytes:
        """The ring does not reach back far enough."""
        known = self.hub.last
        found = await self.hub.resume(self.at, self.trace, CHUNK)
        self.at = found[-1].seq if found else self.at
        if len(found) < CHUNK:
            self.at = max(self.at, known)
        return b"".join(self.hub.kept_text(kept) for kept in found)

    def _stats(self) -> bytes:
        if self.tick == self.hub.ticks or not self.hub.stats:
            return b""
        self.tick = self.hub.ticks
        return _text("stats", self.epoch, self.at, orjson.dumps(self.hub.stats))


def _slice(events: deque[Event], start: int, count: int) -> Iterator[Event]:
    """From the end of a deque, where its items are near."""
    behind = len(events) - start
    for place in range(behind, max(0, behind - count), -1):
        yield events[-place]


def _switch(request: web.Request) -> bool:
    given = request.query.get("trace", "on")
    if given not in ("on", "off"):
        fault: Fault = {"index": None, "field": "trace", "message": "is neither on nor off"}
        raise Problem(422, "trace is neither on nor off", errors=[fault])
    return given == "on"


def _text(kind: str, epoch: str, seq: int, data: bytes) -> bytes:
    return b"event: %b\nid: %b-%d\ndata: %b\n\n" % (kind.encode(), epoch.encode(), seq, data)
