"""`DelayQueue` releases items when they are due, in the order of their times."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
import uvloop

from saga_app.stream.consume.delay_queue import COALESCE_S, MIN_INTERVAL_S, DelayQueue

Run = Callable[[Coroutine[Any, Any, None]], None]

#: asyncio's event loop, and uvloop's, which is used in production.
ON_BOTH_LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run])

#: How much too early a timer may fire (seconds).
TIMER_TOLERANCE_S = 0.002


@ON_BOTH_LOOPS
def test_items_are_released_when_due_and_simultaneous_ones_together(run: Run) -> None:
    run(check_release_times())


async def check_release_times() -> None:
    loop, releases = asyncio.get_running_loop(), list[tuple[float, list[str]]]()
    delay_queue = DelayQueue[str](lambda items: releases.append((loop.time(), items)))
    start = loop.time()
    delays_s = {"late": 0.06, "first": 0.02, "with first": 0.02 + COALESCE_S / 2, "next": 0.04}
    for name, delay_s in delays_s.items():
        delay_queue.put(start + delay_s, name)
    released_at: dict[str, float] = {}
    async with asyncio.timeout(2):
        while len(released_at) < 4:
            await asyncio.sleep(0.001)
            released_at = {item: at for at, items in releases for item in items}
    assert [*released_at] == ["first", "with first", "next", "late"]
    assert released_at["first"] == released_at["with first"]
    early = {
        name for name in ("first", "next", "late") if released_at[name] < start + delays_s[name] - TIMER_TOLERANCE_S
    }
    assert not early


@ON_BOTH_LOOPS
def test_overdue_items_and_items_put_on_release_are_released(run: Run) -> None:
    run(check_overdue_items())


async def check_overdue_items() -> None:
    loop, released = asyncio.get_running_loop(), list[str]()

    def release(items: list[str]) -> None:
        released.extend(items)
        if len(released) < 3:
            delay_queue.put(loop.time(), "put on release")

    delay_queue = DelayQueue[str](release)
    delay_queue.put(loop.time() - 1, "second")
    delay_queue.put(loop.time() - 2, "first")
    async with asyncio.timeout(2):
        while len(released) < 3:
            await asyncio.sleep(0.001)
    assert released == ["first", "second", "put on release"]


@ON_BOTH_LOOPS
def test_under_load_items_are_released_in_batches_without_delay(run: Run) -> None:
    run(check_batches_under_load())


async def check_batches_under_load() -> None:
    """Put 100 items that become due one per millisecond, and then one item per millisecond that is due immediately."""
    loop, releases = asyncio.get_running_loop(), list[tuple[float, list[float]]]()
    delay_queue = DelayQueue[float](lambda items: releases.append((loop.time(), items)))
    start = loop.time()
    for n in range(100):
        delay_queue.put(start + n / 1000, start + n / 1000)
    async with asyncio.timeout(5):
        while loop.time() < start + 0.1:
            await asyncio.sleep(0.001)
            delay_queue.put(loop.time(), loop.time())
        while delay_queue._heap:
            await asyncio.sleep(0.001)
    times = [at for at, _ in releases]
    assert min(after - before for before, after in pairwise(times)) > MIN_INTERVAL_S - TIMER_TOLERANCE_S
    previous = [-1.0, *times]
    assert all(
        due_at > before - TIMER_TOLERANCE_S
        for (_, items), before in zip(releases, previous, strict=False)
        for due_at in items
    ), "an item that was due at one release was kept until the next"
