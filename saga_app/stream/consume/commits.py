"""Committing what is finished, and letting work in flight finish before partitions are given back."""

import asyncio
from time import monotonic
from typing import Any

from faust.types import TP

#: How long a commit may wait for the broker before the caller goes on without it (seconds).
COMMIT_S = 5.0


class Commits:
    """The commits of one consumer: one request at a time, so that none overtakes another."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._lock = asyncio.Lock()
        self._asked: asyncio.Future[bool] | None = None

    async def commit(self) -> bool:
        """Commit what is finished; on failure the ledger stays where it was."""
        consumer = self._consumer
        async with self._lock:
            moved = consumer.ledger.committable()
            if not moved:  # also when the thread has never started, and knows no assignment
                return False
            assigned = consumer.assignment()
            offsets = {tp: offset for tp, offset in moved.items() if tp in assigned}
            if not offsets or not await self._within(COMMIT_S, offsets):
                return False
            consumer.ledger.committed(offsets)
            consumer.app.monitor.on_tp_commit(offsets)
            return True

    async def _within(self, timeout_s: float, offsets: dict[TP, int]) -> bool:
        """False instead of waiting for ever: a crashed thread answers nobody, an absent broker nobody soon."""
        if self._consumer._thread.should_stop or (self._asked is not None and not self._asked.done()):
            return False
        self._asked = asyncio.ensure_future(self._consumer._commit(offsets))
        answered, _ = await asyncio.wait([self._asked], timeout=timeout_s)
        return bool(answered) and self._asked.result()

    async def drain(self, limit_s: float) -> None:
        """Let the work in flight end; after `limit_s` cancel the rest.  Then commit what is done.

        What only waits for a time is not waited for: whoever gets the partition reads it again.

        After a crash there is nothing to wait for: the thread has left the group already.
        """
        consumer = self._consumer
        consumer.ledger.close()
        deadline = monotonic() + (0.0 if consumer._thread.should_stop else limit_s)
        while tasks := consumer.ledger.tasks():
            _, late = await asyncio.wait(tasks, timeout=max(0.0, deadline - monotonic()))
            if late and monotonic() >= deadline:
                consumer.log.warning("drain limit: %d tasks cancelled, their records will be fetched again", len(late))
                for task in late:
                    task.cancel()
                await asyncio.wait(late, timeout=limit_s)
                break
        await self.commit()
