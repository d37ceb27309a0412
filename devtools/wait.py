"""Waiting for a condition with a timeout, and free ports, for tests and benchmarks."""

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
    """Poll `condition` every `every_s` seconds until it returns a true value, and return that value.

    Raises AssertionError with `what` after `within_s` seconds; a function is called then to describe the failure.
    """
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"timeout after {within_s:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(every_s)
    return result


async def eventually(condition: Callable[[], Awaitable[T]], within_s: float, what: str, every_s: float = 0.05) -> T:
    """Like `until()`, for a coroutine function."""
    deadline = time.monotonic() + within_s
    while not (result := await condition()):
        assert time.monotonic() < deadline, f"timeout after {within_s:g} s: {what}"
        await asyncio.sleep(every_s)
    return result


def free_ports(count: int) -> list[int]:
    """Unused ports of 127.0.0.1, distinct from those that recent calls and parallel test processes got.

    They lie outside the operating system's range for outgoing connections: a client that reconnects to a stopped broker
    would otherwise be assigned that port as its own, and connect to itself.
    """
    with ExitStack() as stack:
        return [_listen_on_next(stack).getsockname()[1] for _ in range(count)]


def _candidate_ports() -> Iterator[int]:
    """Ports below the range for outgoing connections, cyclically; parallel test processes have disjoint shares."""
    linux = Path("/proc/sys/net/ipv4/ip_local_port_range")
    below = int(linux.read_text().split()[0]) if linux.exists() else 32_000
    first, last = (10_000, below) if below > 12_000 else (1_100, 10_000)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = range(first + worker, last, workers)
    start = random.randrange(len(share))
    return cycle([*share[start:], *share[:start]])


_ports = _candidate_ports()


def _listen_on_next(stack: ExitStack) -> socket.socket:
    while True:
        try:
            return stack.enter_context(socket.create_server(("127.0.0.1", next(_ports))))
        except OSError:
            continue


def free_port() -> int:
    """One port of `free_ports()`."""
    return free_ports(1)[0]


def listening(port: int) -> bool:
    """Whether a process listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
