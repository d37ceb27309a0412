"""Keeps the services running: starts them together, restarts what crashes, stops all of it cleanly."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Protocol

import aiohttp

from saga_app.environment import WRONG_ENVIRONMENT
from saga_app.local.child_process import Child, Service, outcome
from saga_app.local.console_output import Voice

#: Seconds before a crashed service is started again: doubled each time, and forgotten once it ran for a while.
BACKOFF_S, BACKOFF_MOST_S, FORGIVEN_S = 0.5, 10.0, 30.0

#: Seconds that the services have to end after SIGTERM before they are killed.
GRACE_S = 8.0

#: Seconds between two words about what a start still waits for.
IMPATIENT_S = 10.0


class Broker(Protocol):
    """The embedded broker, as far as it matters here."""

    @property
    def alive(self) -> bool: ...
    def close(self) -> None: ...


class Supervisor:
    """Runs services, with an embedded broker or without.

    broker: starts the embedded broker (blocking; raises RuntimeError or its own error when it cannot);
    ready: called once all of them do, the first time.
    """

    def __init__(
        self,
        services: Sequence[Service],
        voice: Voice,
        *,
        broker: Callable[[], Broker] | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.services, self.voice = services, voice
        self._open_broker, self._on_ready = broker, ready
        self._children: dict[str, Child] = {}
        self._stop, self._kill = asyncio.Event(), asyncio.Event()
        self._greeted = False
        #: The last line of a service that ended because its environment is wrong, which ends everything; else None.
        self.wrong: str | None = None

    async def run(self) -> None:
        """Returns after a clean stop. Raises what starting the broker raises."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
                loop.add_signal_handler(number, self.stop)
        self.voice.unheard = self.stop
        while not self._stop.is_set():
            await self._together()

    def stop(self) -> None:
        """Ask for the end; asked again, it kills."""
        if self._stop.is_set():
            self._kill.set()
        self._stop.set()

    async def _together(self) -> None:
        """The broker and the services, from their start to the end of all: what the broker held is gone with it."""
        broker = await asyncio.to_thread(self._open_broker) if self._open_broker else None
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [tasks.create_task(self._keep(service)) for service in self.services]
                work.append(tasks.create_task(self._watch_readiness()))
                await self._until_over(broker)
                for task in work:
                    task.cancel()
        finally:
            await self._end_children()
            if broker is not None:
                await asyncio.to_thread(broker.close)

    async def _until_over(self, broker: Broker | None) -> None:
        while not self._stop.is_set():
            if broker is not None and not broker.alive:
                self.voice.say(
                    "the embedded broker died, and all that it held is gone: starting everything afresh", "red"
                )
                return
            await _first(self._stop.wait(), 0.2)
        self.voice.say("stopping")

    async def _keep(self, service: Service) -> None:
        """Restart it whenever it ends, until that cannot help."""
        delay = BACKOFF_S
        while True:
            started = monotonic()
            child = await self._start(service)
            code = await child.ended()
            if code == WRONG_ENVIRONMENT:
                self.wrong = child.last_line
                return self.stop()
            if monotonic() - started > FORGIVEN_S:
                delay = BACKOFF_S
            self.voice.say(f"{service.name} {outcome(code)}, starting it again in {delay:g} s", "red")
            await asyncio.sleep(delay)
            delay = min(delay * 2, BACKOFF_MOST_S)

    async def _start(self, service: Service) -> Child:
        start = asyncio.create_task(Child.start(service, lambda line: self.voice.line(service.name, line)))
        try:
            return await asyncio.shield(start)
        finally:  # cancelled half-way too, or it would be nobody's
            self._children[service.name] = await start

    async def _end_children(self) -> None:
        children = list(self._children.values())
        self._children.clear()
        for child in children:
            child.send(signal.SIGTERM)
        ends: asyncio.Future[Any] = asyncio.gather(*(child.ended() for child in children))
        killed: asyncio.Future[Any] = asyncio.create_task(self._kill.wait())
        await asyncio.wait([ends, killed], timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        for child in children:
            child.send(signal.SIGKILL)
        await ends

    async def _watch_readiness(self) -> None:
        """Says when all are ready, and what a start waits for when it takes long."""
        said = monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            while waiting := await self._waiting(http):
                if monotonic() - said > IMPATIENT_S:
                    said = monotonic()
                    self.voice.say("still waiting: " + "; ".join(waiting))
                await asyncio.sleep(0.1)
        if self._greeted:
            self.voice.say("all services are ready again", "green")
        elif self._on_ready:
            self._greeted = True
            await self._on_ready()

    async def _waiting(self, http: aiohttp.ClientSession) -> list[str]:
        answers = await asyncio.gather(*(self._reason(http, service) for service in self.services))
        return [f"{service.name} ({answer})" for service, answer in zip(self.services, answers, strict=True) if answer]

    async def _reason(self, http: aiohttp.ClientSession, service: Service) -> str | None:
        try:
            async with http.get(f"{service.url}/health/ready") as answer:
                if answer.status == 200:
                    return None
                return str((await answer.json(content_type=None)).get("reason", answer.status))
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError):
            return "no answer yet"


async def _first(waiting: Awaitable[object], seconds: float) -> None:
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        pass
