"""`Eager` runs a coroutine up to its first wait, and continues it as if it had been awaited from the start."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from saga_app.stream.consume.eager import Eager


async def test_a_coroutine_that_does_not_wait_has_finished_at_once() -> None:
    async def immediate() -> int:
        return 7

    eager = Eager(immediate())
    assert not eager.waits
    assert await eager == 7


async def test_an_error_before_the_first_wait_is_raised_by_the_constructor() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Eager(broken())


async def test_a_waiting_coroutine_continues_and_raises_in_the_same_task() -> None:
    tasks: list[Any] = []

    async def slow(error: Exception | None) -> int:
        for _ in range(3):
            tasks.append(asyncio.current_task())
            await asyncio.sleep(0.001)
        if error:
            raise error
        return 7

    eager = Eager(slow(None))
    assert eager.waits
    assert await eager == 7
    with pytest.raises(ValueError, match="late"):
        await Eager(slow(ValueError("late")))
    assert set(tasks) == {asyncio.current_task()}


async def test_timeouts_inside_and_around_the_coroutine_both_apply() -> None:
    async def slow() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(5)
        except TimeoutError:
            pass
        await asyncio.sleep(5)
        return "never"

    eager = Eager(slow())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await eager


async def test_a_cancelled_coroutine_can_await_its_clean_up() -> None:
    events: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            events.append("cancelled")
            raise

    async def run() -> None:
        await Eager(slow())

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["cancelled"]


def test_closing_the_awaiting_coroutine_closes_the_inner_one() -> None:
    events: list[str] = []

    class Suspend:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def slow() -> None:
        try:
            await Suspend()
        finally:
            events.append("closed")

    async def run() -> None:
        await Eager(slow())

    coroutine = run()
    coroutine.send(None)
    coroutine.close()
    assert events == ["closed"]
