"""Locks for keys: an entry for each key that is locked, and none for the others."""

import asyncio
from collections import deque

#: For each locked partition and key, the tasks that wait for it; None if none has waited yet.
KeyLocks = dict[tuple[int, bytes], deque[asyncio.Future[None]] | None]


class KeyLock:
    """`async with KeyLock(locks, place)`: one task at a time, in the order of their requests.

    Without contention, which is nearly always, it is one dictionary entry: cheaper than an `asyncio.Lock`.
    """

    __slots__ = ("_locks", "_place")

    def __init__(self, locks: KeyLocks, place: tuple[int, bytes]) -> None:
        self._locks, self._place = locks, place

    async def __aenter__(self) -> None:
        if self._place not in self._locks:
            self._locks[self._place] = None
            return
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
                self._release()
            raise

    async def __aexit__(self, *_exc: object) -> None:
        self._release()

    def _release(self) -> None:
        """Hand the lock to the next waiting task, or remove it."""
        queue = self._locks[self._place]
        while queue:
            turn = queue.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return
        del self._locks[self._place]
