"""Records that only wait for a time: no task for each of them, and one timer for all."""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

#: What is due within so long is taken together (seconds).
TOGETHER_S = 0.002

#: How far apart two turns are at least (seconds): under load several records go on together, here and in whatever comes
#: after, which is a sixth of the services' processor time at 300 sagas/s with lags. One that comes alone is in time.
APART_S = 0.02


class RetryLater(NamedTuple):
    """What a handler answers that wants its record again after so many seconds, together with `state`."""

    seconds: float
    state: Any


class DelayQueue(Generic[T]):
    """Give it things with their times (of the running loop's clock); `due` gets them when these have come."""

    def __init__(self, due: Callable[[list[T]], None]) -> None:
        self._due = due
        self._heap: list[tuple[float, int, T]] = []
        self._number = count()  #: Things of the same time keep their order, and need not be comparable.
        self._timer: asyncio.Handle | None = None
        self._set_for = 0.0  #: A timer of uvloop cannot be asked.
        self._earliest = 0.0  #: when the next turn may be

    def put(self, at: float, thing: T) -> None:
        """From then on it is due."""
        heappush(self._heap, (at, next(self._number), thing))
        if self._timer is None or max(at, self._earliest) < self._set_for:
            self._set()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._set_for = max(self._heap[0][0], self._earliest)
            self._timer = asyncio.get_running_loop().call_at(self._set_for, self._turn)

    def _turn(self) -> None:
        heap, now, come = self._heap, asyncio.get_running_loop().time(), []
        until, self._earliest = now + TOGETHER_S, now + APART_S
        while heap and heap[0][0] <= until:
            come.append(heappop(heap)[2])
        self._timer = None
        self._set()
        self._due(come)
