"""Fencing: a worker that its group may have expelled must not write rows. The lease limits how long it may.

A process that is frozen (SIGSTOP, VM pause, swapping) for longer than the session timeout loses its partitions without
noticing. When it continues, the rows in its producer would be appended to the changelog after those of the new owner,
and an old row would replace a newer one for good. So the session timeout is split in two:

    a row is handed to librdkafka only within `age_s` after the last acknowledged heartbeat was sent,
    and librdkafka gives up on it `session - age_s` later (delivery.timeout.ms).

A row is therefore sent before the session can have expired, or not at all. When the lease has expired, rows are held
until the next heartbeat is acknowledged; after a lost membership they fail, which crashes the worker.

A gap of some ten microseconds remains: librdkafka checks the timeout when it builds a request, not when it writes the
request to the socket. `ChangelogRepair` of the new owner corrects what passes there.

An unanswered heartbeat would hold the rows for aiokafka's request timeout (30 s), because a broker answers the requests
of a connection in order. So after a session timeout without an answer the connection is closed, and the next heartbeat
uses a new one.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog

from saga_app.stream.upstream.aiokafka import (
    SendHeartbeat,
    coordinator_connection,
    on_membership_lost,
    wrap_heartbeat,
)

log = structlog.get_logger()


class Fenced(Exception):
    """This worker is no longer a member of its group."""


class Lease:
    """The right to write rows. Renewed by the consumer's thread (heartbeats), checked by the event loop."""

    def __init__(self, session_s: float, heartbeat_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.session_s = session_s
        self.age_s = min(session_s / 2, 2 * heartbeat_s)
        self.row_timeout_s = session_s - self.age_s
        self.renewed_at = clock()
        self.membership_lost = False

    def renew(self, at: float | None = None) -> None:
        """The coordinator has acknowledged a request that was sent at `at` (monotonic seconds; None: now)."""
        self.renewed_at = self._clock() if at is None else at
        self.membership_lost = False

    def watch(self, coordinator: Any) -> None:
        """Follow the heartbeats and the membership of aiokafka's group coordinator."""

        async def heartbeat(send: SendHeartbeat) -> bool:
            sent_at = self._clock()
            overdue = asyncio.get_running_loop().call_later(self.session_s, _close_connection, coordinator)
            try:
                acknowledged = await send()
            finally:
                overdue.cancel()
            if acknowledged:
                self.renew(sent_at)
            return acknowledged

        def lose_membership() -> None:
            self.membership_lost = True

        wrap_heartbeat(coordinator, heartbeat)
        on_membership_lost(coordinator, lose_membership)

    @property
    def silent_s(self) -> float:
        """Seconds since the last acknowledged heartbeat was sent."""
        return self._clock() - self.renewed_at

    def holds(self) -> bool:
        """Whether rows may be sent; False while the lease has expired. Raises `Fenced` after a lost membership."""
        if self.membership_lost:
            raise Fenced("this worker lost its group membership; another one owns its partitions")
        return self.silent_s <= self.age_s


def _close_connection(coordinator: Any) -> None:
    log.warning("heartbeat unanswered, reconnecting to the group coordinator")
    connection = coordinator_connection(coordinator)
    if connection is not None:
        connection.close()
