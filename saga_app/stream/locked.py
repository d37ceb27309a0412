"""A lock for each key that somebody works on, and none for the others."""

import asyncio

#: By partition and key.
Locks = dict[tuple[int, bytes], asyncio.Lock]


class Locked:
    """`async with Locked(locks, place)`: one after the other, in the order in which they came."""

    __slots__ = ("_lock", "_locks", "_place")

    def __init__(self, locks: Locks, place: tuple[int, bytes]) -> None:
        self._locks, self._place = locks, place

    async def __aenter__(self) -> None:
        self._lock = self._locks.get(self._place) or self._locks.setdefault(self._place, asyncio.Lock())
        await self._lock.acquire()

    async def __aexit__(self, *_exc: object) -> None:
        self._lock.release()
        if not self._lock._waiters:
            self._locks.pop(self._place, None)
