"""One service process: started, listened to, ended."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Lines longer than this (bytes) are passed on in pieces.
LINE = 64 * 1024

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Service:
    """How to start a service, and where it answers."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str  #: under which it answers /health/ready


class Child:
    """A running process of a service. It dies with its parent, however that ends (Linux)."""

    def __init__(self, process: Process, heard: Callable[[str], None]) -> None:
        assert process.stdout is not None
        self.last_line = ""  #: the last one it printed that is not empty
        self._process, self._heard = process, heard
        self._output = asyncio.create_task(_listen(process.stdout, self._line))

    @classmethod
    async def start(cls, service: Service, heard: Callable[[str], None]) -> "Child":
        """`heard` gets each line that it prints."""
        process = await asyncio.create_subprocess_exec(
            *service.command,
            env=service.environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal reaches the supervisor only, which stops all
            preexec_fn=_dies_with(os.getpid()),
        )
        return cls(process, heard)

    def _line(self, line: str) -> None:
        self.last_line = line.strip() or self.last_line
        self._heard(line)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ended(self) -> int:
        """The exit code (negative: the signal), once its last words were heard."""
        code = await self._process.wait()
        await asyncio.wait([self._output], timeout=1)  # a grandchild might hold the pipe open
        self._output.cancel()
        return code

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self._process.returncode is None:
            self._process.send_signal(number)


def outcome(code: int) -> str:
    """An exit code in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


async def _listen(stream: asyncio.StreamReader, heard: Callable[[str], None]) -> None:
    rest = b""
    while chunk := await stream.read(LINE):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            heard(_text(line))
        if len(rest) > LINE:
            heard(_text(rest))
            rest = b""
    if rest:
        heard(_text(rest))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def _dies_with(parent: int) -> Callable[[], None] | None:
    """For the child, between fork and exec: be killed when the parent is gone, even by kill -9."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before we asked
            os._exit(1)

    return ask
