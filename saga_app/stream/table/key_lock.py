"""A lock for each key that somebody works on, and none for the others."""

import asyncio
from collections import deque

#: By partition and key: who waits for it; None while nobody does.
KeyLocks = dict[tuple[int, bytes], deque[asyncio.Future[None]] | None]


class KeyLock:
    """`async with KeyLock(locks, place)`: one after the other, in the order in which they came.

    Nearly always nobody else is there: then it is an entry in a dictionary, cheaper than an `asyncio.Lock`.
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
            if not turn.cancelled():  # it was ours already: the next one's turn
                self._pass_on()
            raise

    async def __aexit__(self, *_exc: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        queue = self._locks[self._place]
        while queue:
            turn = queue.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return
        del self._locks[self._place]
