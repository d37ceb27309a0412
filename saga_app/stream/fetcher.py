"""Fetching through librdkafka, for the positions that aiokafka keeps.

aiokafka stays the member of the group: it joins, beats, commits, resets positions. But its fetches name every assigned
partition and are made and read in Python, however little they bring; librdkafka's are made in threads of its own.
Nobody seeks here: before each fetch the positions are compared, and a partition
that stands elsewhere than we have read (it was sought, or is new) begins anew from there.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from aiokafka.consumer.fetcher import OffsetResetStrategy
from confluent_kafka import Consumer, KafkaError, TopicPartition
from faust.types import TP

from saga_app.stream.brokers import MEET_S, Brokers
from saga_app.stream.quiet import Quiet

T = TypeVar("T")

#: The longest wait for a first record, so that a changed assignment is soon noticed (seconds); records of one fetch.
WAIT_S, MOST = 0.2, 10_000

#: What librdkafka itself has to say; see quiet.py.
log = logging.getLogger("librdkafka")
log.addFilter(Quiet())

_DEFAULTS: Mapping[str, Any] = {
    "group.id": "none",  # it must have one, and never joins it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # aiokafka resets
    "isolation.level": "read_uncommitted",
    "check.crcs": False,
    "fetch.error.backoff.ms": 50,
    "fetch.queue.backoff.ms": 5,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 16_384,
    "reconnect.backoff.max.ms": 1000,
    "topic.metadata.refresh.interval.ms": 5000,
    "socket.nagle.disable": True,
    "log_level": 3,
}


class _Fields(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int  #: milliseconds since 1970
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    names: tuple[str, ...]  #: of its headers
    values: tuple[bytes | None, ...]


class Fetched(_Fields):
    """A record as Faust and the batches want it. Very many may wait, so they share what is the same in all of them."""

    __slots__ = ()

    # These are Faust's, and nobody asks for them.
    checksum = None
    serialized_key_size = serialized_value_size = 0

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """Names and values, as they came."""
        return list(zip(self.names, self.values, strict=True))


@lru_cache(maxsize=1024)
def _once(thing: T) -> T:
    """Half of the headers are the same in all records of a topic: so they are there once, however many wait."""
    return thing


class Fetcher:
    """Made, used and closed in one event loop. `states` are aiokafka's, by partition: each has a `position`."""

    def __init__(self, bootstrap: str, wait_ms: int, **settings: Any) -> None:
        own = {"bootstrap.servers": bootstrap, "fetch.wait.max.ms": wait_ms}
        self._client: Any = Consumer({**_DEFAULTS, **own, **settings}, logger=log)
        self.brokers = Brokers(self._client)
        self._next: dict[TP, int] = {}  #: the partitions that are read, and from where they go on
        self._thread = ThreadPoolExecutor(1, "fetcher")
        # Else librdkafka looks for the leaders of what it is told to read half a second later.
        self._thread.submit(self.brokers.lost, None, MEET_S)

    async def fetch(self, states: Mapping[TP, Any], timeout_s: float, most: int = MOST) -> dict[TP, list[Fetched]]:
        """The next records of these partitions, and their positions moved behind them; nothing after `timeout_s`."""
        self._follow(states)
        loop = asyncio.get_running_loop()
        try:
            messages = await loop.run_in_executor(self._thread, self._take, min(timeout_s, WAIT_S), most)
        except BaseException:  # what was taken is lost: begin anew from the positions
            self._client.unassign()
            self._next = {}
            raise
        return self._sorted(states, messages)

    def _follow(self, states: Mapping[TP, Any]) -> None:
        """Read what is to be read, from where it is to be read."""
        wanted = {tp: state.position for tp, state in states.items() if state.has_valid_position}
        if wanted == self._next:
            return
        gone = [tp for tp, offset in self._next.items() if wanted.get(tp) != offset]
        new = [TopicPartition(*tp, offset) for tp, offset in wanted.items() if self._next.get(tp) != offset]
        if gone:
            self._client.incremental_unassign([TopicPartition(*tp) for tp in gone])
        if new:
            self._client.incremental_assign(new)
        self._next = wanted

    def _take(self, timeout_s: float, most: int) -> list[Any]:
        """In the other thread: wait for one, and take all that are there by then."""
        first = self._client.poll(timeout_s)
        return [] if first is None else [first, *self._client.consume(most - 1, 0)]

    def _sorted(self, states: Mapping[TP, Any], messages: list[Any]) -> dict[TP, list[Fetched]]:
        """By partition; without those that were sought meanwhile."""
        found: dict[TP, list[Fetched]] = {}
        tp = TP("", -1)
        for message in messages:
            topic, number = message.topic(), message.partition()
            if number != tp.partition or topic != tp.topic:
                tp = TP(topic, number)
            if (error := message.error()) is not None:
                self._failed(states, tp, error)
                continue
            kind, at = message.timestamp()
            headers = message.headers() or ()
            names, values = _once(tuple([name for name, _ in headers])), tuple([_once(value) for _, value in headers])
            found.setdefault(tp, []).append(
                Fetched(tp.topic, number, message.offset(), at, kind, message.key(), message.value(), names, values)
            )
        return {tp: run for tp, run in found.items() if self._moved(states.get(tp), tp, run[-1].offset + 1)}

    def _moved(self, state: Any, tp: TP, position: int) -> bool:
        """Move the position of a partition behind what was found; False if it was sought meanwhile."""
        if state is None or not state.has_valid_position or state.position != self._next.get(tp):
            return False
        self._next[tp] = position
        state.consumed_to(position)
        return True

    def _failed(self, states: Mapping[TP, Any], tp: TP, error: Any) -> None:
        """A position that is not there any more: from the beginning; everything else librdkafka tries again."""
        log.warning("%s[%s]: %s", tp.topic, tp.partition, error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET and tp in self._next:
            states[tp].await_reset(OffsetResetStrategy.EARLIEST)

    async def close(self) -> None:
        """End."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.brokers.close)
        self._thread.shutdown(wait=False)
