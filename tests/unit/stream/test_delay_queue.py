"""Whatever waits for a time gets its turn then, in the order of the times, with one timer for all."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
import uvloop

from saga_app.stream.consume.delay_queue import COALESCE_S, MIN_INTERVAL_S, DelayQueue

#: In production it is uvloop's loop that turns it.
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
Run = Callable[[Coroutine[Any, Any, None]], None]


@LOOPS
def test_each_comes_in_its_time_and_those_of_one_moment_together(run: Run) -> None:
    run(in_their_time())


async def in_their_time() -> None:
    loop, came = asyncio.get_running_loop(), list[tuple[float, list[str]]]()
    delay_queue = DelayQueue[str](lambda things: came.append((loop.time(), things)))
    start = loop.time()
    for name, after in (("late", 0.06), ("first", 0.02), ("with it", 0.02 + COALESCE_S / 2), ("next", 0.04)):
        delay_queue.put(start + after, name)
    turns: dict[str, float] = {}
    async with asyncio.timeout(2):
        while len(turns) < 4:
            await asyncio.sleep(0.001)
            turns = {thing: at for at, things in came for thing in things}
    assert [*turns] == ["first", "with it", "next", "late"]
    assert turns["first"] == turns["with it"]
    early = {
        thing for thing, due in (("first", 0.02), ("next", 0.04), ("late", 0.06)) if turns[thing] < start + due - 0.002
    }
    assert not early


@LOOPS
def test_what_is_due_already_and_what_comes_again_at_once_get_their_turn(run: Run) -> None:
    run(at_once())


async def at_once() -> None:
    loop, turns = asyncio.get_running_loop(), list[str]()

    def due(things: list[str]) -> None:
        turns.extend(things)
        if len(turns) < 3:
            delay_queue.put(loop.time(), "again")

    delay_queue = DelayQueue[str](due)
    delay_queue.put(loop.time() - 1, "first")
    delay_queue.put(loop.time() - 2, "before it")
    async with asyncio.timeout(2):
        while len(turns) < 3:
            await asyncio.sleep(0.001)
    assert turns == ["before it", "first", "again"]


@LOOPS
def test_under_load_several_go_on_together_and_all_of_them_soon(run: Run) -> None:
    run(under_load())


async def under_load() -> None:
    """A hundred, one each millisecond, and one each millisecond that is put then and due at once."""
    loop, turns = asyncio.get_running_loop(), list[tuple[float, list[float]]]()
    delay_queue = DelayQueue[float](lambda things: turns.append((loop.time(), things)))
    start = loop.time()
    for n in range(100):
        delay_queue.put(start + n / 1000, start + n / 1000)
    async with asyncio.timeout(5):
        while loop.time() < start + 0.1:
            await asyncio.sleep(0.001)
            delay_queue.put(loop.time(), loop.time())
        while delay_queue._heap:
            await asyncio.sleep(0.001)
    times = [at for at, _ in turns]
    assert min(after - before for before, after in pairwise(times)) > MIN_INTERVAL_S - 0.002
    previous = [-1.0, *times]
    assert all(due > before - 0.002 for (_, things), before in zip(turns, previous, strict=False) for due in things), (
        "whatever was due at a turn went on in it"
    )
