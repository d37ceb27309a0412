"""A child process of the supervisor: start it, read its output, stop it."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Longer lines are split.
MAX_LINE_BYTES = 64 * 1024

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Service:
    """How to start a service, and its base URL."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str  #: base URL of its /health/ready


class Child:
    """A running service process. On Linux it is killed when its parent ends, even by SIGKILL."""

    def __init__(self, process: Process, on_line: Callable[[str], None]) -> None:
        assert process.stdout is not None
        self.last_line = ""  #: the last non-empty line of its output
        self._process, self._on_line = process, on_line
        self._output = asyncio.create_task(_read_lines(process.stdout, self._line))

    @classmethod
    async def start(cls, service: Service, on_line: Callable[[str], None]) -> "Child":
        """Start the process; `on_line` is called with each line of its output."""
        process = await asyncio.create_subprocess_exec(
            *service.command,
            env=service.environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,  # Ctrl-C then reaches only the supervisor, which stops all services
            preexec_fn=_die_with_parent(os.getpid()),
        )
        return cls(process, on_line)

    def _line(self, line: str) -> None:
        self.last_line = line.strip() or self.last_line
        self._on_line(line)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end of the process and of its output; returns the exit code (negative: the signal)."""
        code = await self._process.wait()
        await asyncio.wait([self._output], timeout=1)  # a grandchild may keep the pipe open
        self._output.cancel()
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is running."""
        if self._process.returncode is None:
            self._process.send_signal(number)


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


async def _read_lines(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    rest = b""
    while chunk := await stream.read(MAX_LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            on_line(_text(line))
        if len(rest) > MAX_LINE_BYTES:
            on_line(_text(rest))
            rest = b""
    if rest:
        on_line(_text(rest))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """A `preexec_fn` that requests SIGKILL for the child when its parent dies; None if the system is not Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def request_signal() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the request
            os._exit(1)

    return request_signal
