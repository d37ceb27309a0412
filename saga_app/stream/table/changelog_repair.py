"""Writes rows again that a frozen worker has overwritten.

Fencing (see `Lease`) leaves a gap of microseconds: a request that librdkafka had built when the process was frozen is
sent when it continues, after the rows of the new owner. The new owner detects that its own rows are not consecutive in
the changelog, reads the keys of the foreign rows in between, and appends its own rows of those keys.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from confluent_kafka import Consumer, TopicPartition

log = structlog.get_logger()

#: How long to wait for the broker when foreign rows are read (seconds).
READ_TIMEOUT_S = 10.0

#: Time between two attempts to read them (seconds).
RETRY_INTERVAL_S = 1.0

#: Returns the keys of the records at these offsets of a partition.
KeysAt = Callable[[int, Sequence[int]], Awaitable[set[bytes]]]


class ChangelogRepair:
    """Gets the offsets of acknowledged rows; calls `rewrite(partition, key)` for each key of a foreign row."""

    def __init__(self, keys_at: KeysAt, rewrite: Callable[[int, bytes], None]) -> None:
        self._keys_at, self._rewrite = keys_at, rewrite
        self._checked: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def check(self, partition: int, have: int, own: Sequence[int]) -> None:
        """Look for foreign rows between own ones. `own`: the ascending offsets of own rows that were acknowledged;
        `have`: the offset up to which the changelog is known.
        """
        self._check_up_to(partition, have, own[-1], own)

    async def finish(self, partition: int, have: int, end: int) -> None:
        """Look for foreign rows up to the end of the changelog, and wait until all are handled.

        `end`: the end offset of the partition; no own row may be unacknowledged. If this is cancelled, the partitions
        are being revoked, and nothing is rewritten any more.
        """
        self._check_up_to(partition, have, end - 1, ())
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            self.forget()
            raise

    def _check_up_to(self, partition: int, have: int, last: int, own: Sequence[int]) -> None:
        first = max(have, self._checked.get(partition, have)) + 1
        if first > last:
            return
        self._checked[partition] = last
        if first + len(own) - 1 == last:
            return
        mine = set(own)
        foreign = [offset for offset in range(first, last + 1) if offset not in mine]
        task = asyncio.get_running_loop().create_task(self._repair(partition, foreign))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _repair(self, partition: int, foreign: Sequence[int]) -> None:
        keys = await self._read_keys(partition, foreign)
        log.warning("foreign rows in the changelog, rewriting ours", partition=partition, rows=len(foreign))
        for key in keys:
            self._rewrite(partition, key)

    async def _read_keys(self, partition: int, foreign: Sequence[int]) -> set[bytes]:
        """Retries until the broker answers; the next rebalance cancels it."""
        while True:
            try:
                return await self._keys_at(partition, foreign)
            except Exception as error:
                log.error("foreign rows not readable", partition=partition, offsets=foreign[:5], error=repr(error))
                await asyncio.sleep(RETRY_INTERVAL_S)

    def forget(self) -> None:
        """Cancel everything, in a rebalance: the recovery reads the changelog."""
        for task in self._tasks:
            task.cancel()
        self._checked.clear()


async def keys_at(bootstrap: str, topic: str, partition: int, offsets: Sequence[int]) -> set[bytes]:
    """The keys of the records at these ascending offsets. Raises TimeoutError."""
    return await asyncio.to_thread(_read, bootstrap, topic, partition, offsets)


def _read(bootstrap: str, topic: str, partition: int, offsets: Sequence[int]) -> set[bytes]:
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "changelog-repair",
        "enable.auto.commit": False,
        "log_level": 0,
    }
    consumer = Consumer(settings)
    wanted, keys = set(offsets), set[bytes]()
    try:
        consumer.assign([TopicPartition(topic, partition, offsets[0])])
        while True:
            message = consumer.poll(READ_TIMEOUT_S)
            if message is None:
                raise TimeoutError(f"{topic}[{partition}] did not answer in {READ_TIMEOUT_S:g} s")
            offset, key = message.offset(), message.key()
            if message.error() is not None or offset is None:
                continue
            if offset in wanted and isinstance(key, bytes):
                keys.add(key)
            if offset >= offsets[-1]:
                return keys
    finally:
        consumer.close()
