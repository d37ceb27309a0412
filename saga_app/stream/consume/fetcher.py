"""Fetches through librdkafka, from the positions that aiokafka keeps.

aiokafka remains the member of the group: it joins, sends heartbeats, commits and resets positions. Its fetcher is
disabled: it names every assigned partition in each request, and builds and parses requests in Python; librdkafka
fetches in threads of its own, in C. Nothing seeks here: before each fetch the positions are compared, and a partition
whose position differs from what was read (it was sought, or is new) is assigned again from there.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from time import monotonic, sleep
from typing import Any, NamedTuple, TypeVar

import structlog
from aiokafka.consumer.fetcher import OffsetResetStrategy
from confluent_kafka import Consumer, KafkaError, TopicPartition
from faust.types import TP

from saga_app.stream.brokers import WARM_UP_TIMEOUT_S, Brokers
from saga_app.stream.consume.gather import Gather
from saga_app.stream.log_throttle import LogThrottle
from saga_app.stream.upstream.librdkafka import headers_of

T = TypeVar("T")

#: The longest wait for a first record (seconds). A changed assignment is noticed after it. Each wait without a record
#: wakes three threads.
MAX_POLL_S = 1.0

#: The most records of one fetch.
MAX_RECORDS = 10_000

#: The logger of librdkafka's clients.
librdkafka_log = logging.getLogger("librdkafka")
librdkafka_log.addFilter(LogThrottle())

log = structlog.get_logger()

_DEFAULTS: Mapping[str, Any] = {
    "group.id": "none",  # required, and never joined
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # aiokafka resets
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # tells how far a partition was read if its last records are not delivered
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


class Loss(NamedTuple):
    """Records that were deleted before they were read: those before offset `end`; None if their number is unknown."""

    tp: TP
    first: int
    end: int | None

    @property
    def reason(self) -> str:
        """Why they were lost."""
        if self.end is None:
            return "the topic was deleted and created again, or its last records were lost"
        return "deleted by retention before they were read"

    def __str__(self) -> str:
        offsets = f"offsets {self.first} and later" if self.end is None else f"offsets {self.first} to {self.end - 1}"
        return f"{self.tp.topic}[{self.tp.partition}] {offsets}: {self.reason}"


class _Fields(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int  #: milliseconds since 1970
    timestamp_type: int  #: in Kafka's numbers: 0 is the client's, 1 the broker's, -1 none
    key: bytes | None
    value: bytes | None
    names: tuple[str, ...]  #: of its headers
    values: tuple[bytes | None, ...]  #: of its headers


class Fetched(_Fields):
    """A record as Faust and `Batch` expect it. Very many may wait in memory, so they share equal headers."""

    __slots__ = ()

    # Faust expects these attributes, and nothing reads them.
    checksum = None
    serialized_key_size = serialized_value_size = 0

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """Names and values in the order of the record."""
        return list(zip(self.names, self.values, strict=True))


@lru_cache(maxsize=1024)
def _shared(thing: T) -> T:
    """The first object that is equal to this one. Half of the headers are the same in all records of a topic."""
    return thing


class Fetcher:
    """Fetches records with librdkafka from the positions that aiokafka keeps.

    Created, used and closed in one event loop. The `states` that its methods take are aiokafka's, by partition: each
    has a `position`.
    """

    def __init__(
        self, bootstrap: str, wait_ms: int, on_loss: Callable[[Loss], None] | None = None, **settings: Any
    ) -> None:
        own = {"bootstrap.servers": bootstrap, "fetch.wait.max.ms": wait_ms}
        self._client: Any = Consumer({**_DEFAULTS, **own, **settings}, logger=librdkafka_log)
        self._thread = ThreadPoolExecutor(1, "fetcher")
        self.brokers = Brokers(self._client, self._thread)
        self._next: dict[TP, int] = {}  #: the partitions that are read, and the next offset of each
        self._skipped: dict[TP, tuple[int, int]] = {}  #: see take_skipped
        self._missing: dict[TP, int] = {}  #: positions that do not exist, until aiokafka has reset them
        self._reached: dict[TP, int] = {}  #: the highest position of each partition since the start
        self._restarted: set[TP] = set()  #: partitions whose restart was reported since the last `report_replaced`
        self._on_loss = on_loss
        self._gather = Gather()
        # Without this request librdkafka looks up the leaders of a first assignment half a second later.
        self._thread.submit(self.brokers.are_unreachable, None, WARM_UP_TIMEOUT_S)

    async def fetch(
        self, states: Mapping[TP, Any], timeout_s: float, max_records: int = MAX_RECORDS
    ) -> dict[TP, list[Fetched]]:
        """The next records of these partitions, whose positions are advanced.

        Empty if none arrives within `timeout_s` seconds, at most `MAX_POLL_S`.
        """
        self._assign(states)
        loop = asyncio.get_running_loop()
        try:
            messages = await loop.run_in_executor(self._thread, self._poll, min(timeout_s, MAX_POLL_S), max_records)
        except BaseException:  # polled records are gone: read them again, from the positions
            self._client.unassign()
            self._next, self._skipped = {}, {}
            raise
        return self._by_partition(states, messages)

    def _assign(self, states: Mapping[TP, Any]) -> None:
        """Let librdkafka read these partitions from these positions."""
        wanted = {tp: state.position for tp, state in states.items() if state.has_valid_position}
        if self._missing:
            self._report_missing(states, wanted)
        if wanted == self._next:
            return
        gone = [tp for tp, offset in self._next.items() if wanted.get(tp) != offset]
        new = [TopicPartition(*tp, offset) for tp, offset in wanted.items() if self._next.get(tp) != offset]
        if gone:
            self._client.incremental_unassign([TopicPartition(*tp) for tp in gone])
        if new:
            self._client.incremental_assign(new)
        self._next = wanted

    def _report_missing(self, states: Mapping[TP, Any], wanted: Mapping[TP, int]) -> None:
        """Report what was lost at positions that did not exist, now that aiokafka has reset them."""
        for tp, first in list(self._missing.items()):
            if tp in states and tp not in wanted:
                continue  # the reset is still under way
            del self._missing[tp]
            if tp in wanted and wanted[tp] != first:  # equal: nothing was read before, or the records exist by now
                loss = Loss(tp, first, wanted[tp] if wanted[tp] > first else None)
                if loss.end is not None:  # committed past, so that a restart does not report it again
                    self._skipped[tp] = first, loss.end
                else:
                    self._restarted.add(tp)
                    self._reached.pop(tp, None)
                self._report(loss)

    def _report(self, loss: Loss) -> None:
        log.error(
            "records are lost",
            partition=f"{loss.tp.topic}[{loss.tp.partition}]",
            first_offset=loss.first,
            last_offset=None if loss.end is None else loss.end - 1,
            reason=loss.reason,
        )
        if self._on_loss is not None:
            self._on_loss(loss)

    def report_replaced(self, topics: Collection[str]) -> None:
        """Report the records of these topics, which were deleted and recreated, unless that was done already.

        A rebalance may have reset the positions since, so what counts is how far each partition was ever read.
        """
        for tp in [tp for tp in self._reached if tp.topic in topics]:
            reached = self._reached.pop(tp)
            if tp not in self._restarted:
                self._report(Loss(tp, reached, None))
        self._restarted.clear()

    def take_skipped(self) -> dict[TP, tuple[int, int]]:
        """By partition, the offsets at the end of what was read since the last call that contain no record to deliver:
        transaction markers, aborted or deleted records. Each is (first, end), `end` exclusive.
        """
        skipped, self._skipped = self._skipped, {}
        return skipped

    def forget_skipped(self, tp: TP) -> None:
        """Forget the skipped offsets of a partition that was sought back: they will be read again."""
        self._skipped.pop(tp, None)

    def _poll(self, timeout_s: float, max_records: int) -> list[Any]:
        """In the fetcher's thread: wait for a message, and take all that have arrived by then. See `Gather`."""
        first = self._client.poll(timeout_s)
        if first is None:
            return []
        if pause_s := self._gather.pause_s(monotonic()):
            sleep(pause_s)
        found = [first, *self._client.consume(max_records - 1, 0)]
        self._gather.took(len(found), monotonic())
        return found

    def _by_partition(self, states: Mapping[TP, Any], messages: list[Any]) -> dict[TP, list[Fetched]]:
        """The fetched records by partition, without partitions that were sought since the fetch began."""
        found: dict[TP, list[Fetched]] = {}
        ends: dict[TP, int] = {}
        tp = TP("", -1)
        for message in messages:
            topic, number = message.topic(), message.partition()
            if number != tp.partition or topic != tp.topic:
                tp = TP(topic, number)
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    ends[tp] = message.offset()
                else:
                    self._on_error(states, tp, error)
                continue
            kind, at = message.timestamp()
            headers = headers_of(message)
            names = _shared(tuple([name for name, _ in headers]))
            values = tuple([_shared(value) for _, value in headers])
            found.setdefault(tp, []).append(
                Fetched(tp.topic, number, message.offset(), at, kind - 1, message.key(), message.value(), names, values)
            )
        found = {tp: run for tp, run in found.items() if self._advance(states.get(tp), tp, run[-1].offset + 1)}
        for tp, end in ends.items():
            first = self._next.get(tp, end)
            if first < end and self._advance(states.get(tp), tp, end):
                self._skipped[tp] = self._skipped.get(tp, (first, end))[0], end
        return found

    def _advance(self, state: Any, tp: TP, position: int) -> bool:
        """Move the position of a partition past what was fetched; False if it was sought since the fetch began."""
        if state is None or not state.has_valid_position or state.position != self._next.get(tp):
            return False
        self._next[tp] = position
        self._reached[tp] = max(self._reached.get(tp, 0), position)
        state.consumed_to(position)
        return True

    def _on_error(self, states: Mapping[TP, Any], tp: TP, error: Any) -> None:
        """Reset a position that does not exist to the beginning; librdkafka retries everything else."""
        librdkafka_log.warning("fetch failed: partition=%s[%s] error=%s", tp.topic, tp.partition, error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET and tp in self._next:
            # librdkafka has stopped reading it, and has to be assigned again even at the same offset.
            self._missing[tp] = self._next.pop(tp)
            self._client.incremental_unassign([TopicPartition(*tp)])
            states[tp].await_reset(OffsetResetStrategy.EARLIEST)

    async def close(self) -> None:
        """Close the client."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.brokers.close)
        self._thread.shutdown(wait=False)
