"""Holds items until they are due: no task for each of them, and one timer for all."""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

#: Items that are due within this time are released together (seconds).
COALESCE_S = 0.002

#: The shortest time between two releases (seconds). Under load, items are released in batches, and so are the messages
#: that they cause: a sixth of the services' processor time at 300 sagas/s with lags. A single item is not delayed.
MIN_INTERVAL_S = 0.02


class RetryLater(NamedTuple):
    """A handler returns this to be called again with its record and `state`, after this many seconds."""

    seconds: float
    state: Any


class DelayQueue(Generic[T]):
    """Calls `release(items)` when items are due. Times are those of the running loop's clock."""

    def __init__(self, release: Callable[[list[T]], None]) -> None:
        self._release = release
        self._heap: list[tuple[float, int, T]] = []
        self._number = count()  #: items due at the same time keep their order, and need not be comparable
        self._timer: asyncio.Handle | None = None
        self._set_for = 0.0  #: when the timer expires: uvloop's timers do not tell
        self._earliest = 0.0  #: when the next release may be

    def put(self, due_at: float, item: T) -> None:
        """Release this item at `due_at` or up to `MIN_INTERVAL_S` later."""
        heappush(self._heap, (due_at, next(self._number), item))
        if self._timer is None or max(due_at, self._earliest) < self._set_for:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._set_for = max(self._heap[0][0], self._earliest)
            self._timer = asyncio.get_running_loop().call_at(self._set_for, self._on_timer)

    def _on_timer(self) -> None:
        heap, now, items = self._heap, asyncio.get_running_loop().time(), []
        until, self._earliest = now + COALESCE_S, now + MIN_INTERVAL_S
        while heap and heap[0][0] <= until:
            items.append(heappop(heap)[2])
        self._timer = None
        self._set_timer()
        self._release(items)
