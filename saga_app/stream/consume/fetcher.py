"""Fetching through librdkafka, for the positions that aiokafka keeps.

aiokafka stays the member of the group: it joins, beats, commits, resets positions. But its fetches name every assigned
partition and are made and read in Python, however little they bring; librdkafka's are made in threads of its own.
Nobody seeks here: before each fetch the positions are compared, and a partition
that stands elsewhere than we have read (it was sought, or is new) begins anew from there.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from gc import get_referents
from operator import methodcaller
from typing import Any, NamedTuple, TypeVar

from aiokafka.consumer.fetcher import OffsetResetStrategy
from confluent_kafka import Consumer, KafkaError, TopicPartition
from faust.types import TP

from saga_app.stream.brokers import MEET_S, Brokers
from saga_app.stream.log_throttle import Quiet

T = TypeVar("T")

#: The longest wait for a first record, so that a changed assignment is soon noticed (seconds); records of one fetch.
WAIT_S, MOST = 0.2, 10_000

#: What librdkafka itself has to say; see quiet.py.
log = logging.getLogger("librdkafka")
log.addFilter(Quiet())

#: Each loss is reported: this logger is not quietened.
losses = logging.getLogger(__name__)

_DEFAULTS: Mapping[str, Any] = {
    "group.id": "none",  # it must have one, and never joins it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # aiokafka resets
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # says how far a partition is read where its last records are not delivered
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
    """Records that were deleted before they were read: those before `end`; where that is None nobody knows how many."""

    tp: TP
    first: int
    end: int | None

    def __str__(self) -> str:
        place = f"{self.tp.topic}[{self.tp.partition}]"
        if self.end is None:
            why = "the topic was deleted and created again, or has lost its end"
            return f"{place} from offset {self.first} on, if there were any: {why}"
        return f"{place} offsets {self.first} to {self.end - 1}: deleted by retention before they were read"


_get_headers = methodcaller("headers")


class _Fields(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int  #: milliseconds since 1970
    timestamp_type: int  #: in Kafka's numbers: 0 is the client's, 1 the broker's, -1 none
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


def headers_of(message: Any) -> Sequence[tuple[str, bytes | None]]:
    """The headers of librdkafka's message, without those whose name is not UTF-8.

    For these its Python client sets an error and returns tuples that lack the name; to touch one ends the process.
    After a call of a `methodcaller` CPython looks for an error, after a direct call it does not always. The garbage
    collector's view of a tuple holds only what is there.
    """
    try:
        headers: Sequence[tuple[str, bytes | None]] = _get_headers(message) or ()
        return headers
    except (SystemError, UnicodeDecodeError):
        log.warning("%s[%s]@%s: header name is not UTF-8", message.topic(), message.partition(), message.offset())
        return [header for header in _get_headers(message) or () if len(get_referents(header)) == 2]


class Fetcher:
    """Made, used and closed in one event loop. `states` are aiokafka's, by partition: each has a `position`."""

    def __init__(
        self, bootstrap: str, wait_ms: int, on_loss: Callable[[Loss], None] | None = None, **settings: Any
    ) -> None:
        own = {"bootstrap.servers": bootstrap, "fetch.wait.max.ms": wait_ms}
        self._client: Any = Consumer({**_DEFAULTS, **own, **settings}, logger=log)
        self.brokers = Brokers(self._client)
        self._next: dict[TP, int] = {}  #: the partitions that are read, and from where they go on
        self._passed: dict[TP, tuple[int, int]] = {}  #: see take_passed
        self._lost: dict[TP, int] = {}  #: positions that were not there, until it is known what is
        self._reached: dict[TP, int] = {}  #: how far each partition was ever read
        self._restarted: set[TP] = set()  #: reported as lost since the last `report_replaced`
        self._on_loss = on_loss
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
            self._next, self._passed = {}, {}
            raise
        return self._sorted(states, messages)

    def _follow(self, states: Mapping[TP, Any]) -> None:
        """Read what is to be read, from where it is to be read."""
        wanted = {tp: state.position for tp, state in states.items() if state.has_valid_position}
        if self._lost:
            self._report_lost(states, wanted)
        if wanted == self._next:
            return
        gone = [tp for tp, offset in self._next.items() if wanted.get(tp) != offset]
        new = [TopicPartition(*tp, offset) for tp, offset in wanted.items() if self._next.get(tp) != offset]
        if gone:
            self._client.incremental_unassign([TopicPartition(*tp) for tp in gone])
        if new:
            self._client.incremental_assign(new)
        self._next = wanted

    def _report_lost(self, states: Mapping[TP, Any], wanted: Mapping[TP, int]) -> None:
        """Now it is known from where on there are records."""
        for tp, first in list(self._lost.items()):
            if tp in states and tp not in wanted:
                continue  # aiokafka still asks
            del self._lost[tp]
            if tp in wanted and wanted[tp] != first:  # else nothing was read yet, or has come since
                loss = Loss(tp, first, wanted[tp] if wanted[tp] > first else None)
                if loss.end is not None:  # committed past, so that a restart does not report it again
                    self._passed[tp] = first, loss.end
                else:
                    self._restarted.add(tp)
                    self._reached.pop(tp, None)
                self._report(loss)

    def _report(self, loss: Loss) -> None:
        losses.error("records are lost: %s", loss)
        if self._on_loss is not None:
            self._on_loss(loss)

    def report_replaced(self, topics: Collection[str]) -> None:
        """Report what these topics held that were created again, as far as it was read, unless that is done already.

        A rebalance may have reset the positions since, so what counts is how far each partition was ever read.
        """
        for tp in [tp for tp in self._reached if tp.topic in topics]:
            reached = self._reached.pop(tp)
            if tp not in self._restarted:
                self._report(Loss(tp, reached, None))
        self._restarted.clear()

    def take_passed(self) -> dict[TP, tuple[int, int]]:
        """By partition, from where to where nothing was delivered at its end, since this was asked last."""
        passed, self._passed = self._passed, {}
        return passed

    def forget_passed(self, tp: TP) -> None:
        """What was fetched before it is put back."""
        self._passed.pop(tp, None)

    def _take(self, timeout_s: float, most: int) -> list[Any]:
        """In the other thread: wait for one, and take all that are there by then."""
        first = self._client.poll(timeout_s)
        return [] if first is None else [first, *self._client.consume(most - 1, 0)]

    def _sorted(self, states: Mapping[TP, Any], messages: list[Any]) -> dict[TP, list[Fetched]]:
        """By partition; without those that were sought meanwhile."""
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
                    self._failed(states, tp, error)
                continue
            kind, at = message.timestamp()
            headers = headers_of(message)
            names, values = _once(tuple([name for name, _ in headers])), tuple([_once(value) for _, value in headers])
            found.setdefault(tp, []).append(
                Fetched(tp.topic, number, message.offset(), at, kind - 1, message.key(), message.value(), names, values)
            )
        found = {tp: run for tp, run in found.items() if self._moved(states.get(tp), tp, run[-1].offset + 1)}
        for tp, end in ends.items():
            first = self._next.get(tp, end)
            if first < end and self._moved(states.get(tp), tp, end):
                self._passed[tp] = self._passed.get(tp, (first, end))[0], end
        return found

    def _moved(self, state: Any, tp: TP, position: int) -> bool:
        """Move the position of a partition behind what was found; False if it was sought meanwhile."""
        if state is None or not state.has_valid_position or state.position != self._next.get(tp):
            return False
        self._next[tp] = position
        self._reached[tp] = max(self._reached.get(tp, 0), position)
        state.consumed_to(position)
        return True

    def _failed(self, states: Mapping[TP, Any], tp: TP, error: Any) -> None:
        """A position that is not there any more: from the beginning; everything else librdkafka tries again."""
        log.warning("%s[%s]: %s", tp.topic, tp.partition, error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET and tp in self._next:
            # librdkafka stands still there: it has to be told again where to read, even if that is the same offset.
            self._lost[tp] = self._next.pop(tp)
            self._client.incremental_unassign([TopicPartition(*tp)])
            states[tp].await_reset(OffsetResetStrategy.EARLIEST)

    async def close(self) -> None:
        """End."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.brokers.close)
        self._thread.shutdown(wait=False)
