"""An event loop with virtual time: instead of waiting, it moves its clock to the next timer."""

import asyncio
from collections import deque
from heapq import heappop
from typing import Any

#: The time at which every simulation begins (seconds since 1970).
EPOCH = 1_700_000_000.0


class _NoSelector:
    """A selector without sockets, which never waits."""

    def select(self, _timeout: float | None) -> list[Any]:
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time jumps to the next timer, and that stops when no timer is left."""

    # Private attributes of BaseEventLoop, which the type stubs do not declare.
    _ready: deque[asyncio.Handle]
    _scheduled: list[Any]
    _timer_cancelled_count: int

    def __init__(self) -> None:
        self.now = 0.0
        self.limit = 0.0
        super().__init__()
        self._selector = _NoSelector()

    def clock(self) -> float:
        """Seconds since 1970. `time()` starts at 0, because large floats would round the times of close timers."""
        return EPOCH + self.now

    def time(self) -> float:
        return self.now

    def run_until_idle(self, limit_s: float) -> bool:
        """Run until no task is ready and no timer is left; False if `limit_s` of virtual time was not enough."""
        self.limit = self.now + limit_s
        self.run_forever()
        return not self._scheduled

    def shut_down(self) -> None:
        """Cancel all tasks and timers, and close the loop."""
        self._scheduled.clear()
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.run_until_idle(0.0)
        self.close()

    def _run_once(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heappop(scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready:
            if scheduled and scheduled[0]._when <= self.limit:
                self.now = max(self.now, scheduled[0]._when)
            else:
                self.stop()
        super()._run_once()  # type: ignore[misc]  # private, not in the type stubs

    def _process_events(self, _events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
