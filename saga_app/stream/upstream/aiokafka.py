"""Private names of aiokafka, written against aiokafka 0.14.0, which setup.cfg pins.

Functions that take a consumer expect an `AIOKafkaConsumer`, those that take a coordinator its `GroupCoordinator`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from aiokafka.client import ConnectionGroup
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.record.default_records import _DefaultRecordBatchPy

#: How often a consumer that does not fetch looks for positions that do not exist any more (seconds).
RESET_INTERVAL_S = 1.0

#: Sends one heartbeat; the result is whether the coordinator acknowledged it.
SendHeartbeat = Callable[[], Awaitable[bool]]


# -- clients


def network_client(owner: Any) -> Any:
    """The `AIOKafkaClient` of a consumer or an admin client, for its metadata and for the functions below.

    aiokafka 0.14: attribute `_client` of both. A rename raises AttributeError at start.
    """
    return owner._client


def pause_after_failed_metadata_update(client: Any, pause_s: float = 0.2) -> None:
    """Make this `AIOKafkaClient` pause after each failed metadata update.

    While a partition has no known leader, aiokafka's sender and fetcher request new metadata as soon as the previous
    request has failed. A refused connection fails immediately, so during an outage each process would use a whole core
    and write ten thousand log lines a second.

    aiokafka 0.14: wraps `_metadata_update`, which returns whether it succeeded. A rename raises AttributeError at
    start; if the client calls another method instead, the busy loop is back.
    """
    update = client._metadata_update

    async def update_and_pause(*args: Any) -> bool:
        ok: bool = await update(*args)
        if not ok:
            await asyncio.sleep(pause_s)
        return ok

    client._metadata_update = update_and_pause


# -- positions and fetching


def subscription_state(consumer: Any) -> Any:
    """The `SubscriptionState` of a consumer: its assignment and the position of each assigned partition.

    aiokafka 0.14: attribute `_subscription`, shared with its fetcher. A rename raises AttributeError at the first
    fetch.
    """
    return consumer._subscription


def is_closed(consumer: Any) -> bool:
    """Whether a consumer was stopped.

    aiokafka 0.14: attribute `_closed`. A rename raises AttributeError at the first fetch.
    """
    return bool(consumer._closed)


def disable_fetching(consumer: Any) -> None:
    """Let a started consumer keep and reset positions, and never send a fetch request.

    It looks for positions to reset at each assignment and every `RESET_INTERVAL_S`, instead of five times a second.

    aiokafka 0.14: the fetch requests are the first item of what `Fetcher._get_actions_per_node` returns. A rename
    raises AttributeError at start; with another order positions are not reset any more, so nothing is consumed. After a
    rename of `_fetcher_timeout` it looks for positions five times a second again.
    """
    fetcher = consumer._fetcher
    fetcher._fetcher_timeout = RESET_INTERVAL_S
    actions = fetcher._get_actions_per_node
    fetcher._get_actions_per_node = lambda assignment: ([], *actions(assignment)[1:])


def set_fetch_wait(consumer: Any, min_bytes: int, max_wait_ms: int) -> None:
    """From its next fetch request on, let the broker answer a started consumer when `min_bytes` are available, or
    after `max_wait_ms`.

    aiokafka 0.14: the fetcher reads `_fetch_min_bytes` and `_fetch_max_wait_ms` for each request. After a rename the
    consumer keeps the values it was created with: smaller fetches under load.
    """
    fetcher = consumer._fetcher
    fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = min_bytes, max_wait_ms


def disable_prefetch_backoff(consumer: Any) -> None:
    """Let a started consumer request the next records of a partition as soon as the previous ones were read.

    Otherwise a node is not asked for 0.1 s while it holds prefetched records of any partition.

    aiokafka 0.14: the fetcher passes `_prefetch_backoff` to each fetch result. After a rename the pause is back.
    """
    consumer._fetcher._prefetch_backoff = 0.0


# -- group membership


def group_coordinator(consumer: Any) -> Any:
    """The `GroupCoordinator` of a started consumer; None if it has no group, is not started, or is None itself.

    aiokafka 0.14: attribute `_coordinator`. After a rename a worker has no lease, and its first row is never sent.
    """
    coordinator = getattr(consumer, "_coordinator", None)
    return coordinator if isinstance(coordinator, GroupCoordinator) else None


def coordinator_failure(coordinator: Any) -> BaseException | None:
    """The error that ended group membership for good, or None.

    aiokafka stores coordinator errors until its consumer is asked for records, which this project never does.

    aiokafka 0.14: `_pending_exception`, and the end of `_coordination_task` unless `_closing` is done. A rename raises
    AttributeError in the watchdog.
    """
    if coordinator._closing.done():
        return None
    if coordinator._pending_exception is not None:
        error: BaseException = coordinator._pending_exception
        return error
    task = coordinator._coordination_task
    return RuntimeError(f"aiokafka's coordination task ended: {task}") if task.done() else None


def wrap_heartbeat(coordinator: Any, wrapper: Callable[[SendHeartbeat], Awaitable[bool]]) -> None:
    """Call `wrapper(send)` in place of each heartbeat; it awaits `send()` and returns its result.

    The result of `send()` is True for an acknowledged heartbeat, also while the group rebalances.

    aiokafka 0.14: wraps `_do_heartbeat`. A rename raises AttributeError at start.
    """
    send = coordinator._do_heartbeat

    async def heartbeat() -> bool:
        return await wrapper(send)

    coordinator._do_heartbeat = heartbeat


def on_membership_lost(coordinator: Any, callback: Callable[[], None]) -> None:
    """Call `callback` before the coordinator drops its member id, which it does on every response (to a heartbeat or a
    commit) that says that it is no member any more.

    aiokafka 0.14: wraps `reset_generation`, which is called through the instance. A rename raises AttributeError at
    start; if a code path skips it, a fenced worker is only stopped by the age of its lease.
    """
    reset = coordinator.reset_generation

    def reset_generation() -> None:
        callback()
        reset()

    coordinator.reset_generation = reset_generation


def coordinator_connection(coordinator: Any) -> Any:
    """The connection that carries heartbeats and commits, or None. Closing it fails the requests that wait for a
    response on it; the next request opens a new one.

    aiokafka 0.14: `_conns` of the client, by node and connection group. A rename raises AttributeError when a
    heartbeat is overdue; with another key the connection is not found, and rows wait for aiokafka's request timeout.
    """
    return coordinator._client._conns.get((coordinator.coordinator_id, ConnectionGroup.COORDINATION))


def delay_leader_sync(delay_s: float) -> None:
    """Let each group leader of this process wait before it sends the assignment, so that followers sync first.

    librdkafka's mock cluster fails a follower whose SyncGroup request arrives after the leader's. May be called again.

    aiokafka 0.14: wraps `CoordinatorGroupRebalance._on_join_leader`. A rename raises AttributeError at start; without
    the wait, groups with several members on the mock cluster rebalance again and again.
    """
    join = CoordinatorGroupRebalance._on_join_leader
    if getattr(join, "delays_leader_sync", False):
        return

    async def join_after_followers(self: Any, response: Any) -> Any:
        await asyncio.sleep(delay_s)
        return await join(self, response)

    join_after_followers.delays_leader_sync = True  # type: ignore[attr-defined]
    CoordinatorGroupRebalance._on_join_leader = join_after_followers


# -- record batches


class RawBatch(NamedTuple):
    """A record batch whose bytes may be changed before its records are decoded."""

    records: Iterable[Any]  #: decodes `buffer` when it is iterated
    buffer: bytearray
    first_position: int  #: of the first record in `buffer`
    record_count: int


def raw_batch(data: bytes | memoryview) -> RawBatch:
    """Uncompress one record batch (format version 2).

    aiokafka 0.14: the Python implementation `_DefaultRecordBatchPy` and its buffer. A rename raises ImportError or
    AttributeError.
    """
    batch: Any = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()
    return RawBatch(batch, batch._buffer, batch._pos, batch._num_records)


def read_batches_with(reader: Callable[[bytes], Any]) -> None:
    """Let every consumer of this process read fetched bytes with `reader` in place of aiokafka's `MemoryRecords`.

    aiokafka 0.14: `aiokafka.consumer.fetcher` looks the class up by this module attribute for each response. If it
    stops doing so, `reader` is not used any more.
    """
    aiokafka_fetcher.MemoryRecords = reader
