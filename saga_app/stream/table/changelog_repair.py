"""Writes again what a worker that was frozen has overwritten.

The lease (lease.py) leaves a gap of microseconds: a request that librdkafka had built when the process was frozen
goes out when it wakes, behind the rows of the new owner.  The new owner sees that its own rows do not follow one
another in the changelog, looks whose rows stand between, and puts its own rows of those keys behind them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from confluent_kafka import Consumer, TopicPartition

log = logging.getLogger(__name__)

#: How long to wait for the broker when foreign rows are looked at (seconds).
READ_S = 10.0

#: Between two tries to look at them (seconds).
AGAIN_S = 1.0

#: The keys of the records at these offsets of a partition.
KeysAt = Callable[[int, Sequence[int]], Awaitable[set[bytes]]]


class Mender:
    """Told of every run of own rows that was acknowledged; `mend` puts the row of a key once more."""

    def __init__(self, keys_at: KeysAt, mend: Callable[[int, bytes], None]) -> None:
        self._keys_at, self._mend = keys_at, mend
        self._seen: dict[int, int] = {}
        self._work: set[asyncio.Task[None]] = set()

    def check(self, partition: int, have: int, own: Sequence[int]) -> None:
        """`own` are the offsets of own rows, rising; up to `have` the changelog is known."""
        self._known(partition, have, own[-1], own)

    async def finish(self, partition: int, have: int, end: int) -> None:
        """The same up to the end of the changelog, when none of our rows is under way; returns when all is looked at.

        `end`: the offset behind its last row. Whoever breaks it off has given the partitions back: nothing comes later.
        """
        self._known(partition, have, end - 1, ())
        try:
            while self._work:
                await asyncio.wait(self._work)
        except asyncio.CancelledError:
            self.forget()
            raise

    def _known(self, partition: int, have: int, last: int, own: Sequence[int]) -> None:
        first = max(have, self._seen.get(partition, have)) + 1
        if first > last:
            return
        self._seen[partition] = last
        if first + len(own) - 1 == last:
            return
        mine = set(own)
        foreign = [offset for offset in range(first, last + 1) if offset not in mine]
        task = asyncio.get_running_loop().create_task(self._look(partition, foreign))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _look(self, partition: int, foreign: Sequence[int]) -> None:
        keys = await self._keys(partition, foreign)
        log.warning("%d rows in partition %d are not ours; ours are written again", len(foreign), partition)
        for key in keys:
            self._mend(partition, key)

    async def _keys(self, partition: int, foreign: Sequence[int]) -> set[bytes]:
        """Asked for until the broker has answered: ends with the next rebalance at the latest."""
        while True:
            try:
                return await self._keys_at(partition, foreign)
            except Exception as error:
                log.error("foreign rows in partition %d at %s are looked at again: %r", partition, foreign[:5], error)
                await asyncio.sleep(AGAIN_S)

    def forget(self) -> None:
        """In a rebalance: what follows is known from the recovery."""
        for task in self._work:
            task.cancel()
        self._seen.clear()


async def keys_at(bootstrap: str, topic: str, partition: int, offsets: Sequence[int]) -> set[bytes]:
    """Read them from the broker.  Raises TimeoutError."""
    return await asyncio.to_thread(_read, bootstrap, topic, partition, offsets)


def _read(bootstrap: str, topic: str, partition: int, offsets: Sequence[int]) -> set[bytes]:
    settings = {"bootstrap.servers": bootstrap, "group.id": "nobody", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer(settings)
    wanted, keys = set(offsets), set[bytes]()
    try:
        consumer.assign([TopicPartition(topic, partition, offsets[0])])
        while True:
            message = consumer.poll(READ_S)
            if message is None:
                raise TimeoutError(f"{topic}[{partition}] did not answer in {READ_S:g} s")
            offset, key = message.offset(), message.key()
            if message.error() is not None or offset is None:
                continue
            if offset in wanted and isinstance(key, bytes):
                keys.add(key)
            if offset >= offsets[-1]:
                return keys
    finally:
        consumer.close()
