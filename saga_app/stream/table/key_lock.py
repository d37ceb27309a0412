"""Locks for keys: an entry for each key that is locked, and none for the others."""

import asyncio
from collections import deque

#: For each locked partition and key, the tasks that wait for it; None if none has waited yet.
KeyLocks = dict[tuple[int, bytes], deque[asyncio.Future[None]] | None]


class KeyLock:
    """`async with KeyLock(locks, place)`: one task at a time, in the order of their requests.

    A caller that often gets the lock at once saves a coroutine with `if not lock.take(): await lock.wait()`, followed
    by `release()`.

    Without contention, which is nearly always, it is one dictionary entry: cheaper than an `asyncio.Lock`.
    """

    __slots__ = ("_locks", "_place")

    def __init__(self, locks: KeyLocks, place: tuple[int, bytes]) -> None:
        self._locks, self._place = locks, place

    def take(self) -> bool:
        """Take the lock if it is free; returns whether it was."""
        if self._place in self._locks:
            return False
        self._locks[self._place] = None
        return True

    async def wait(self) -> None:
        """Wait for a lock that is taken."""
        queue = self._locks[self._place]
        if queue is None:
            queue = self._locks[self._place] = deque()
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except BaseException:
            turn.cancel()
            if not turn.cancelled():  # the lock had already been handed to this task
                self.release()
            raise

    async def __aenter__(self) -> None:
        if not self.take():
            await self.wait()

    async def __aexit__(self, *_exc: object) -> None:
        self.release()

    def release(self) -> None:
        """Hand the lock to the next waiting task, or remove it."""
        queue = self._locks[self._place]
        while queue:
            turn = queue.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return
        del self._locks[self._place]
