"""Commits finished records, and drains work in flight before partitions are revoked."""

import asyncio
from time import monotonic
from typing import Any

import structlog
from faust.types import TP

log = structlog.get_logger()

#: How long a commit may wait for the broker before the caller continues without it (seconds).
COMMIT_TIMEOUT_S = 5.0


class Commits:
    """The commits of one consumer: one request at a time, so that none overtakes another."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._lock = asyncio.Lock()
        self._request: asyncio.Future[bool] | None = None

    async def commit(self) -> bool:
        """Commit what is finished; after a failure the ledger is unchanged."""
        consumer = self._consumer
        async with self._lock:
            moved = consumer.ledger.committable()
            if not moved:  # also before the thread has started: then it has no assignment
                return False
            assigned = consumer.assignment()
            offsets = {tp: offset for tp, offset in moved.items() if tp in assigned}
            if not offsets or not await self._send(offsets, COMMIT_TIMEOUT_S):
                return False
            consumer.ledger.mark_committed(offsets)
            consumer.app.monitor.on_tp_commit(offsets)
            return True

    async def _send(self, offsets: dict[TP, int], timeout_s: float) -> bool:
        """False instead of waiting forever: a crashed thread never answers, an absent broker not soon."""
        if self._consumer.thread.should_stop or (self._request is not None and not self._request.done()):
            return False
        self._request = asyncio.ensure_future(self._consumer.commit_offsets(offsets))
        answered, _ = await asyncio.wait([self._request], timeout=timeout_s)
        return bool(answered) and self._request.result()

    async def drain(self, limit_s: float) -> None:
        """Wait for work in flight, cancel what is left after `limit_s`, then commit what is done.

        Delayed records have no task and are not waited for: the next owner of the partition reads them again. After a
        crash the limit is zero, because the thread has left the group already.
        """
        consumer = self._consumer
        consumer.ledger.close()
        deadline = monotonic() + (0.0 if consumer.thread.should_stop else limit_s)
        while tasks := consumer.ledger.tasks():
            _, late = await asyncio.wait(tasks, timeout=max(0.0, deadline - monotonic()))
            if late and monotonic() >= deadline:
                log.warning("drain timed out, tasks cancelled", tasks=len(late), limit_s=limit_s)
                for task in late:
                    task.cancel()
                await asyncio.wait(late, timeout=limit_s)
                break
        await self.commit()
