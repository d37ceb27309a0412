"""Runs the services as child processes: starts them together, restarts crashed ones, and stops them gracefully."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Protocol

import aiohttp

from saga_app.environment import WRONG_ENVIRONMENT
from saga_app.local.child_process import Child, Service, describe_exit
from saga_app.local.console_output import ConsoleOutput

#: Delay before a crashed service is restarted: initial, maximum, and the uptime after which it is reset. Each crash
#: doubles it.
BACKOFF_S, MAX_BACKOFF_S, BACKOFF_RESET_S = 0.5, 10.0, 30.0

#: Time between SIGTERM and SIGKILL.
SHUTDOWN_TIMEOUT_S = 8.0

#: Interval of status lines while services are not ready.
PROGRESS_INTERVAL_S = 10.0


class Broker(Protocol):
    """The interface of the embedded broker that the supervisor uses."""

    @property
    def alive(self) -> bool: ...
    def close(self) -> None: ...


class Supervisor:
    """Runs services, with or without an embedded broker.

    `broker`: starts the embedded broker; blocks, and raises if it cannot. `ready`: called when all services are ready
    for the first time.
    """

    def __init__(
        self,
        services: Sequence[Service],
        output: ConsoleOutput,
        *,
        broker: Callable[[], Broker] | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.services, self.output = services, output
        self._open_broker, self._on_ready = broker, ready
        self._children: dict[str, Child] = {}
        self._stop, self._kill = asyncio.Event(), asyncio.Event()
        self._was_ready = False
        #: The error of a service whose environment is wrong, which stops all services; otherwise None.
        self.environment_error: str | None = None

    async def run(self) -> None:
        """Run until a signal arrives; returns after a graceful shutdown. Raises the errors of starting the broker."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                loop.add_signal_handler(number, self.stop)
        self.output.on_closed = self.stop
        while not self._stop.is_set():
            await self._run_once()

    def stop(self) -> None:
        """Start the graceful shutdown; a second call kills the services."""
        if self._stop.is_set():
            self._kill.set()
        self._stop.set()

    async def _run_once(self) -> None:
        """Run broker and services until they are stopped or the broker dies, which loses all data."""
        broker = await asyncio.to_thread(self._open_broker) if self._open_broker else None
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [tasks.create_task(self._keep_running(service)) for service in self.services]
                work.append(tasks.create_task(self._watch_readiness()))
                await self._wait_for_end(broker)
                for task in work:
                    task.cancel()
        finally:
            await self._end_children()
            if broker is not None:
                await asyncio.to_thread(broker.close)

    async def _wait_for_end(self, broker: Broker | None) -> None:
        while not self._stop.is_set():
            if broker is not None and not broker.alive:
                self.output.status("the embedded broker died and its data are lost: restarting all services", "red")
                return
            await _wait_for(self._stop.wait(), 0.2)
        self.output.status("stopping")

    async def _keep_running(self, service: Service) -> None:
        """Restart the service whenever it ends; stop all if its environment is wrong."""
        delay = BACKOFF_S
        while True:
            started = monotonic()
            child = await self._start(service)
            code = await child.wait()
            if code == WRONG_ENVIRONMENT:
                self.environment_error = child.last_line
                return self.stop()
            if monotonic() - started > BACKOFF_RESET_S:
                delay = BACKOFF_S
            self.output.status(f"{service.name} {describe_exit(code)}, restarting in {delay:g} s", "red")
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_BACKOFF_S)

    async def _start(self, service: Service) -> Child:
        start = asyncio.create_task(Child.start(service, lambda line: self.output.line(service.name, line)))
        try:
            return await asyncio.shield(start)
        finally:  # even if cancelled, so that `_end_children` stops the process
            self._children[service.name] = await start

    async def _end_children(self) -> None:
        children = list(self._children.values())
        self._children.clear()
        for child in children:
            child.send(signal.SIGTERM)
        ends: asyncio.Future[Any] = asyncio.gather(*(child.wait() for child in children))
        killed: asyncio.Future[Any] = asyncio.create_task(self._kill.wait())
        await asyncio.wait([ends, killed], timeout=SHUTDOWN_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        for child in children:
            child.send(signal.SIGKILL)
        await ends

    async def _watch_readiness(self) -> None:
        """Report when all services are ready, and at intervals which ones are not."""
        reported_at = monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            while waiting := await self._not_ready(http):
                if monotonic() - reported_at > PROGRESS_INTERVAL_S:
                    reported_at = monotonic()
                    self.output.status("waiting for: " + "; ".join(waiting))
                await asyncio.sleep(0.1)
        if self._was_ready:
            self.output.status("all services are ready again", "green")
        elif self._on_ready:
            self._was_ready = True
            await self._on_ready()

    async def _not_ready(self, http: aiohttp.ClientSession) -> list[str]:
        answers = await asyncio.gather(*(self._not_ready_reason(http, service) for service in self.services))
        return [f"{service.name} ({answer})" for service, answer in zip(self.services, answers, strict=True) if answer]

    async def _not_ready_reason(self, http: aiohttp.ClientSession, service: Service) -> str | None:
        try:
            async with http.get(f"{service.url}/health/ready") as answer:
                if answer.status == 200:
                    return None
                return str((await answer.json(content_type=None)).get("reason", answer.status))
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError):
            return "no response"


async def _wait_for(waiting: Awaitable[object], seconds: float) -> None:
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        pass
