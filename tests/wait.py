"""Waiting in tests: for a condition, with a deadline, and never for a fixed time."""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float, what: str, every_s: float = 0.05) -> T:
    """The first true answer of the condition; fails with `what` when there is none in time."""
    deadline = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(every_s)
    return answer


async def eventually(condition: Callable[[], Awaitable[T]], within_s: float, what: str, every_s: float = 0.05) -> T:
    """The same for a coroutine function."""
    deadline = time.monotonic() + within_s
    while not (answer := await condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(every_s)
    return answer


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on.

    Not those of the system's own choice: a client that keeps asking for a broker which is down would in the
    end be given that very port for its own side, and be connected to itself.
    """
    with ExitStack() as held:
        return [_listen(held).getsockname()[1] for _ in range(count)]


def _listen(held: ExitStack) -> socket.socket:
    while True:
        try:
            return held.enter_context(socket.create_server(("127.0.0.1", random.randrange(10_000, 32_000))))
        except OSError:
            continue


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]


def listening(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
