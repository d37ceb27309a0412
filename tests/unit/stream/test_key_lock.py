"""The locks of keys: one task at a time, in the order of the requests, and no entry for a free key."""

import asyncio

from saga_app.stream.table.key_lock import KeyLock, KeyLocks

PLACE = (0, b"ada")


async def test_a_taken_lock_is_handed_on_in_the_order_of_the_requests() -> None:
    locks: KeyLocks = {}
    order: list[int] = []

    async def work(number: int) -> None:
        async with KeyLock(locks, PLACE):
            order.append(number)

    holder = KeyLock(locks, PLACE)
    assert holder.take()
    assert not KeyLock(locks, PLACE).take()
    waiting = [asyncio.ensure_future(work(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert order == []
    holder.release()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]
    assert not locks


async def test_the_locks_of_other_keys_are_free() -> None:
    locks: KeyLocks = {}
    assert KeyLock(locks, PLACE).take()
    assert KeyLock(locks, (1, b"ada")).take()
    assert KeyLock(locks, (0, b"bob")).take()


async def test_a_cancelled_task_does_not_get_the_lock() -> None:
    locks: KeyLocks = {}
    holder = KeyLock(locks, PLACE)
    assert holder.take()
    cancelled, other = (asyncio.ensure_future(KeyLock(locks, PLACE).wait()) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    holder.release()
    await asyncio.wait_for(other, 1.0)
    assert not KeyLock(locks, PLACE).take(), "the other task holds it"


async def test_a_task_that_is_cancelled_after_it_got_the_lock_hands_it_on() -> None:
    locks: KeyLocks = {}
    holder = KeyLock(locks, PLACE)
    assert holder.take()
    cancelled, other = (asyncio.ensure_future(KeyLock(locks, PLACE).wait()) for _ in range(2))
    await asyncio.sleep(0)
    holder.release()
    cancelled.cancel()
    await asyncio.wait_for(other, 1.0)
    assert cancelled.cancelled()
