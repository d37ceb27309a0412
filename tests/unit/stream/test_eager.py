"""A step that does not wait is done at once; one that does goes on as if it had been awaited from the start."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from saga_app.stream.consume.eager import Eager


async def test_what_does_not_wait_is_over_when_it_has_begun() -> None:
    async def ready() -> int:
        return 7

    eager = Eager(ready())
    assert not eager.waits
    assert await eager == 7


async def test_what_it_raises_at_once_is_raised_at_once() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Eager(broken())


async def test_what_waits_goes_on_in_the_same_task_and_raises_what_it_raises() -> None:
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


async def test_its_own_timeout_and_one_around_it_both_count() -> None:
    async def patient() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(5)
        except TimeoutError:
            pass
        await asyncio.sleep(5)
        return "never"

    eager = Eager(patient())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await eager


async def test_who_is_cancelled_cleans_up() -> None:
    told: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            told.append("cancelled")
            raise

    async def run() -> None:
        await Eager(slow())

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["cancelled"]


def test_who_is_closed_is_closed_within() -> None:
    told: list[str] = []

    class Suspended:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def slow() -> None:
        try:
            await Suspended()
        finally:
            told.append("closed")

    async def run() -> None:
        await Eager(slow())

    coroutine = run()
    coroutine.send(None)
    coroutine.close()
    assert told == ["closed"]
