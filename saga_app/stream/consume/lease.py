"""A worker that the group has given up on must not write rows: the lease.

A process that is frozen (SIGSTOP, VM pause, swap storm) for longer than the session
timeout loses its partitions without knowing it.  When it wakes, what is still in its
producer would land in the changelog after the new owner's rows, and an old row would
overwrite a newer one for good.  The session is therefore split in two:

    a row is handed to librdkafka only within `age_s` of the last acknowledged heartbeat,
    and librdkafka gives up on it `session - age_s` later (delivery.timeout.ms),

so that it is either on its way before the session can have ended, or never.  In doubt rows
are held until the coordinator's next verdict; a lost membership fails them and crashes the worker.

What is left: librdkafka looks at the timeout when it builds a request, not when it writes
it to the socket, some ten microseconds later.  What gets through there is mended by the new owner: mender.py.

A heartbeat that is not answered would hold the rows for aiokafka's request timeout (30 s), and the broker answers
one request after the other: after a session without an answer the connection is closed, and the next goes out anew.
"""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from aiokafka.client import ConnectionGroup

log = logging.getLogger(__name__)


class Fenced(Exception):
    """This worker is no longer a member of its group."""


class Lease:
    """Written by the consumer's thread (heartbeats), read by the event loop."""

    def __init__(self, session_s: float, heartbeat_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.session_s = session_s
        self.age_s = min(session_s / 2, 2 * heartbeat_s)
        self.row_timeout_s = session_s - self.age_s
        self.renewed = clock()
        self.lost = False

    def renew(self, at: float | None = None) -> None:
        """The coordinator answered a request that was sent at `at` (monotonic seconds)."""
        self.renewed = self._clock() if at is None else at
        self.lost = False

    def watch(self, coordinator: Any) -> None:
        """Learn of heartbeats and of lost membership from aiokafka's group coordinator."""
        beat, reset = coordinator._do_heartbeat, coordinator.reset_generation

        async def heartbeat() -> bool:
            sent = self._clock()
            overdue = asyncio.get_running_loop().call_later(self.session_s, _hang_up, coordinator)
            try:
                ok: bool = await beat()
            finally:
                overdue.cancel()
            if ok:
                self.renew(sent)
            return ok

        def reset_generation() -> None:
            self.lost = True
            reset()

        coordinator._do_heartbeat, coordinator.reset_generation = heartbeat, reset_generation

    @property
    def silent_s(self) -> float:
        """How long ago the coordinator has answered (seconds)."""
        return self._clock() - self.renewed

    def holds(self) -> bool:
        """Whether rows may be sent; False while that is in doubt."""
        if self.lost:
            raise Fenced("this worker lost its group membership; another one owns its partitions")
        return self.silent_s <= self.age_s


def _hang_up(coordinator: Any) -> None:
    """Close the connection to the group's coordinator, which fails what waits for an answer there."""
    log.warning("the coordinator has not answered a heartbeat: a new connection")
    connection = coordinator._client._conns.get((coordinator.coordinator_id, ConnectionGroup.COORDINATION))
    if connection is not None:
        connection.close()
