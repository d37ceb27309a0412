"""Waiting in tests: for a condition, with a deadline, and never for a fixed time."""

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float, what: str | Callable[[], str], every_s: float = 0.05) -> T:
    """The first true answer of the condition; fails with `what`, asked for then, when there is none in time."""
    deadline = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what if isinstance(what, str) else what()}"
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
    """Unused ports of 127.0.0.1, each different from those that other tests were given shortly before.

    Not those of the system's own choice: a client that keeps asking for a broker which is down would in the
    end be given that very port for its own side, and be connected to itself.
    """
    with ExitStack() as held:
        return [_listen(held).getsockname()[1] for _ in range(count)]


def _ports() -> Iterator[int]:
    """Those below the system's own, in turn; each of the test processes that run side by side has a part of them."""
    linux = Path("/proc/sys/net/ipv4/ip_local_port_range")
    below = int(linux.read_text().split()[0]) if linux.exists() else 32_000
    first, last = (10_000, below) if below > 12_000 else (1_100, 10_000)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = range(first + worker, last, workers)
    start = random.randrange(len(mine))
    return cycle([*mine[start:], *mine[:start]])


_next_ports = _ports()


def _listen(held: ExitStack) -> socket.socket:
    while True:
        try:
            return held.enter_context(socket.create_server(("127.0.0.1", next(_next_ports))))
        except OSError:
            continue


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]


def listening(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
