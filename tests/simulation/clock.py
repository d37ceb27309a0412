"""A clock that jumps: nobody waits for time to pass."""

import asyncio
from heapq import heappop
from typing import Any

#: Seconds since 1970 at which every simulation begins.
EPOCH = 1_700_000_000.0


class _NoSockets:
    """There is nothing to wait for but time."""

    def select(self, _timeout: float | None) -> list[Any]:
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time jumps to the next timer, and that stops when there is none."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limit = 0.0
        super().__init__()
        self._selector = _NoSockets()

    def clock(self) -> float:
        """Seconds since 1970. The loop's own time stays small: it is compared to the nanosecond."""
        return EPOCH + self.now

    def time(self) -> float:
        return self.now

    def until_idle(self, limit_s: float) -> bool:
        """Run until nothing is under way; False if that takes longer."""
        self.limit = self.now + limit_s
        self.run_forever()
        return not self._scheduled

    def end(self) -> None:
        """Nothing that was begun goes on."""
        self._scheduled.clear()
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.until_idle(0.0)
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
        super()._run_once()

    def _process_events(self, _events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
