"""Reads all topics up to their current ends, without joining a group, and the committed offsets of all groups."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from gc import get_referents
from operator import methodcaller
from time import monotonic, sleep, time
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from saga_app.active_plan import READS, TOPICS
from saga_app.audit.case import LogState
from saga_app.audit.collector import EvidenceCollector
from saga_app.audit.route import FIRST
from saga_app.saga.messages import DLQ

#: Timeouts of the first and of later requests, and maximum time without a record (seconds).
FIRST_ANSWER_S, ANSWER_S, SILENCE_S = 5.0, 8.0, 30.0

#: Maximum number of records per fetch.
BATCH_RECORDS = 5_000

#: Earlier timestamps are implausible: Kafka records have them since 2016.
EARLIEST_TIMESTAMP_MS = 1_451_606_400_000

Partition = tuple[str, int]
Answer = TypeVar("Answer")


class CannotRead(Exception):
    """The topics cannot be read; the text is one line with the reason."""


class FetchedRecord(NamedTuple):
    """A record as it was read; headers only on topics where they matter."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclass(slots=True)
class Snapshot:
    """The offsets to read. Committed offsets are fetched before the ends, so that their effects are included."""

    partitions: int
    committed: Mapping[str, Mapping[Partition, int]]
    first: Mapping[Partition, int]
    ends: Mapping[Partition, int]
    at: int = field(default_factory=lambda: int(time() * 1000))

    @property
    def records(self) -> int:
        """Maximum number of records."""
        return sum(end - self.first[place] for place, end in self.ends.items())


@contextmanager
def consumer(bootstrap: str, group: str = "audit") -> Iterator[Consumer]:
    """A consumer that joins no group and commits nothing. Raises `CannotRead`."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,  # required by librdkafka; only used to query committed offsets
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "fetch.message.max.bytes": 262_144,  # these three apply to each of many partitions
        "queued.max.messages.kbytes": 512,
        "queued.min.messages": 1_000,
        "fetch.queue.backoff.ms": 10,  # by default a full queue delays a partition by a second
        "socket.connection.setup.timeout.ms": 5_000,
        "log_level": 0,
    }
    try:
        opened = Consumer(settings)
    except KafkaException as error:
        raise CannotRead(f"no broker at {bootstrap}: {error.args[0].str()}") from None
    try:
        yield opened
    finally:
        opened.close()


def snapshot(reading: Consumer, bootstrap: str) -> Snapshot:
    """Fetch the committed offsets and the ends. Raises `CannotRead`."""
    counts = _partitions(reading, bootstrap)
    places = [(topic, number) for topic in TOPICS for number in range(counts[topic])]
    committed = {group: _committed(bootstrap, group, counts) for group in READS}
    ends: dict[Partition, int] = {}
    for topic in reversed(
        TOPICS
    ):  # downstream topics first: the records that caused theirs are then below the later ends
        ends |= _offsets(reading, [place for place in places if place[0] == topic], -1)
    return Snapshot(min(counts.values()), committed, _offsets(reading, places, -2), ends)


def _partitions(reading: Consumer, bootstrap: str) -> dict[str, int]:
    """Number of partitions by topic. Raises `CannotRead` if topics are missing."""
    counts = _counts(reading, bootstrap)
    if missing := [topic for topic in TOPICS if topic not in counts]:
        raise CannotRead(
            f"topics are missing at {bootstrap}: {', '.join(missing)}; the services create them when they start"
        )
    return {topic: counts[topic] for topic in TOPICS}


def _counts(reading: Consumer, bootstrap: str) -> dict[str, int]:
    """Number of partitions of each topic of the cluster."""
    try:
        found = reading.list_topics(
            timeout=FIRST_ANSWER_S
        ).topics  # all topics, because a request for an absent one may create it
    except KafkaException:
        raise CannotRead(f"no broker answers at {bootstrap}: start it, or set another with --broker") from None
    return {topic: len(metadata.partitions) for topic, metadata in found.items()}


def _committed(bootstrap: str, group: str, counts: Mapping[str, int]) -> dict[Partition, int]:
    """The committed offsets of a group, fetched without joining it."""
    places = [TopicPartition(topic, number) for topic in READS[group] for number in range(counts[topic])]
    with consumer(bootstrap, group) as asking:
        found = _retry(lambda: asking.committed(places, timeout=ANSWER_S))
    return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}


def _offsets(reading: Consumer, places: Sequence[Partition], which: int) -> dict[Partition, int]:
    """The first offsets (`which` -2) or the end offsets (-1), by Kafka's ListOffsets."""
    asked = [TopicPartition(topic, number, which) for topic, number in places]
    found = _retry(lambda: reading.offsets_for_times(asked, timeout=ANSWER_S))
    return {(each.topic, each.partition): max(0, each.offset) for each in found}


def _retry(ask: Callable[[], Answer]) -> Answer:
    """Repeat a request for a while, because a broker that has just started does not lead its partitions yet.

    Raises `CannotRead`.
    """
    deadline = monotonic() + ANSWER_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if monotonic() > deadline:
                raise CannotRead(f"the broker does not respond: {error.args[0].str()}") from None
            sleep(0.2)


class Reading:
    """Reads all records of a snapshot."""

    def __init__(
        self, reading: Consumer, there: Snapshot, collector: EvidenceCollector, silence_s: float = SILENCE_S
    ) -> None:
        self.reading, self.there, self.collector, self.silence_s = reading, there, collector, silence_s
        #: Partitions still to be read, with their end offsets.
        self.left = {place: end for place, end in there.ends.items() if there.first[place] < end}
        #: Until when records are gone (milliseconds since 1970): a log loses its beginning only. Gaps after that are
        #: markers of transactions, records of aborted ones, and rows that were compacted.
        self.lost = {place: math.inf for place, first in there.first.items() if first}

    def run(self, on_progress: Callable[[int], None]) -> None:
        """Read to the end. Raises `CannotRead` if the broker stops responding."""
        self.reading.assign([TopicPartition(*place, self.there.first[place]) for place in self.left])
        last_record_at = monotonic()
        while self.left:
            if sum(self._take(message) for message in self.reading.consume(BATCH_RECORDS, 0.5)):
                last_record_at = monotonic()
            if monotonic() - last_record_at > self.silence_s:
                topic, number = next(iter(self.left))
                missing = f"{topic}[{number}] and {len(self.left) - 1} other partitions are not read to the end"
                raise CannotRead(f"the broker has stopped responding: {missing}")
            on_progress(self.collector.records)

    def _take(self, message: Any) -> bool:
        """Process a message; returns whether it made progress. Records beyond the end and transient errors do not."""
        place = message.topic(), message.partition()
        if place not in self.left:
            return False
        if error := message.error():
            return error.code() == KafkaError._PARTITION_EOF and self._done(place)
        offset = message.offset()
        if offset < self.left[place]:
            self._gather(message, place, offset)
        return offset + 1 < self.left[place] or self._done(place)

    def _gather(self, message: Any, place: Partition, offset: int) -> None:
        at = plausible_timestamp(message.timestamp()[1], self.there.at)
        if self.lost.get(place) == math.inf:
            self.lost[place] = at
        headers = _headers(message) if place[0] in (DLQ, FIRST) else ()
        self.collector.take(FetchedRecord(*place, offset, at, message.value(), headers))

    def _done(self, place: Partition) -> bool:
        del self.left[place]
        self.reading.pause([TopicPartition(*place)])
        return True


def plausible_timestamp(timestamp: int, now: int) -> int:
    """The record's timestamp (ms since 1970), or `now` if it is missing, in the future, or implausibly old."""
    return timestamp if EARLIEST_TIMESTAMP_MS <= timestamp <= now else now


_get_headers = methodcaller("headers")


def _headers(message: Any) -> Sequence[tuple[str, bytes | None]]:
    """The headers without those whose name is not UTF-8.

    For these, librdkafka's Python client sets an error and returns incomplete tuples, and accessing one crashes the
    process. CPython detects the error reliably after a call through `methodcaller`, but not after a direct call. The
    garbage collector's view of a tuple contains only its existing items.
    """
    try:
        headers: Sequence[tuple[str, bytes | None]] = _get_headers(message) or ()
        return headers
    except (SystemError, UnicodeDecodeError):
        return [header for header in _get_headers(message) or () if len(get_referents(header)) == 2]


def read(
    bootstrap: str, collector: EvidenceCollector, settle_s: float, begin: Callable[[int], Callable[[int], None]]
) -> LogState:
    """Read all topics into `collector`; returns the extent of what was read. Raises `CannotRead`.

    `begin` is called with the number of records, and returns a function that is called with the number read so far.
    """
    with consumer(bootstrap) as reading:
        there = snapshot(reading, bootstrap)
        session = Reading(reading, there, collector)
        session.run(begin(there.records))
        others = other_topics(reading, bootstrap, collector.other_topics)
        second = Reading(reading, others, collector)
        second.run(lambda _count: None)
    return LogState(
        there.at,
        there.partitions,
        there.committed,
        {**session.lost, **second.lost},
        {**there.first, **others.first},
        int(settle_s * 1000),
        ends={**there.ends, **others.ends},
    )


def other_topics(reading: Consumer, bootstrap: str, named: Iterable[str]) -> Snapshot:
    """The offsets of topics that routing slips name but the current plan does not have: of sagas of another plan.

    Their consumer groups are unknown, so their committed offsets are not checked.
    """
    counts = _counts(reading, bootstrap)
    places = [(topic, number) for topic in sorted(named) for number in range(counts.get(topic, 0))]
    ends = _offsets(reading, places, -1) if places else {}
    return Snapshot(0, {}, _offsets(reading, places, -2) if places else {}, ends)
