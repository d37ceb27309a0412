"""Everything that stands on the topics now: no group, all partitions assigned by hand, up to the ends as they were."""

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
from saga_app.audit.case import Seen
from saga_app.audit.gather import Gathering
from saga_app.audit.route import FIRST
from saga_app.saga.messages import DLQ

#: How long the broker may take for its first answer and for others, and how long no record may come (seconds).
FIRST_ANSWER_S, ANSWER_S, SILENCE_S = 5.0, 8.0, 30.0

#: Records taken at once.
MOST = 5_000

#: Kafka's records carry timestamps since 2016 (milliseconds since 1970).
EARLIEST = 1_451_606_400_000

Partition = tuple[str, int]
Answer = TypeVar("Answer")


class CannotRead(Exception):
    """The topics cannot be read; the text is one line for the person who wants to know why."""


class Raw(NamedTuple):
    """A record as it was read; headers only where they say something."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class Snapshot:
    """What there is to read. The committed offsets are older than the ends: what they lead to is among it."""

    partitions: int
    committed: Mapping[str, Mapping[Partition, int]]
    first: Mapping[Partition, int]
    ends: Mapping[Partition, int]
    at: int = field(default_factory=lambda: int(time() * 1000))

    @property
    def records(self) -> int:
        """How many there are at most."""
        return sum(end - self.first[place] for place, end in self.ends.items())


@contextmanager
def consumer(bootstrap: str, group: str = "audit") -> Iterator[Consumer]:
    """A consumer that joins no group, and commits nothing. Raises `CannotRead`."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,  # librdkafka wants one; it is only asked for what it has committed
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "fetch.message.max.bytes": 262_144,  # these three hold for every partition, of which there are many
        "queued.max.messages.kbytes": 512,
        "queued.min.messages": 1_000,
        "fetch.queue.backoff.ms": 10,  # by default a full queue keeps a partition waiting for a second
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
    """What there is to read. Raises `CannotRead`."""
    counts = _partitions(reading, bootstrap)
    places = [(topic, number) for topic in TOPICS for number in range(counts[topic])]
    committed = {group: _committed(bootstrap, group, counts) for group in READS}
    ends: dict[Partition, int] = {}
    for topic in reversed(TOPICS):  # what comes of a record first, then the record: it was there before
        ends |= _offsets(reading, [place for place in places if place[0] == topic], -1)
    return Snapshot(min(counts.values()), committed, _offsets(reading, places, -2), ends)


def _partitions(reading: Consumer, bootstrap: str) -> dict[str, int]:
    """How many each topic has; the fewest are those that are used, records on others are forwarded."""
    counts = _counts(reading, bootstrap)
    if missing := [topic for topic in TOPICS if topic not in counts]:
        raise CannotRead(f"topics are missing at {bootstrap}: {', '.join(missing)}; the services make them at start")
    return {topic: counts[topic] for topic in TOPICS}


def _counts(reading: Consumer, bootstrap: str) -> dict[str, int]:
    """How many partitions each topic of the cluster has."""
    try:
        found = reading.list_topics(timeout=FIRST_ANSWER_S).topics  # all: asking for an absent one might create it
    except KafkaException:
        raise CannotRead(f"no broker answers at {bootstrap}: start it, or name another with --broker") from None
    return {topic: len(metadata.partitions) for topic, metadata in found.items()}


def _committed(bootstrap: str, group: str, counts: Mapping[str, int]) -> dict[Partition, int]:
    """What a group has committed; it is asked without joining it."""
    places = [TopicPartition(topic, number) for topic in READS[group] for number in range(counts[topic])]
    with consumer(bootstrap, group) as asking:
        found = _insist(lambda: asking.committed(places, timeout=ANSWER_S))
    return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}


def _offsets(reading: Consumer, places: Sequence[Partition], which: int) -> dict[Partition, int]:
    """The first offsets (-2) or the ends (-1), as Kafka's ListOffsets knows them."""
    asked = [TopicPartition(topic, number, which) for topic, number in places]
    found = _insist(lambda: reading.offsets_for_times(asked, timeout=ANSWER_S))
    return {(each.topic, each.partition): max(0, each.offset) for each in found}


def _insist(ask: Callable[[], Answer]) -> Answer:
    """Ask again for a while: a broker that has just started does not lead its partitions yet. Raises `CannotRead`."""
    deadline = monotonic() + ANSWER_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if monotonic() > deadline:
                raise CannotRead(f"the broker does not answer: {error.args[0].str()}") from None
            sleep(0.2)


class Reading:
    """Takes all records of a snapshot; `run` tells now and then how many it has."""

    def __init__(self, reading: Consumer, there: Snapshot, gathering: Gathering, silence_s: float = SILENCE_S) -> None:
        self.reading, self.there, self.gathering, self.silence_s = reading, there, gathering, silence_s
        #: What is still to be read, by its end.
        self.left = {place: end for place, end in there.ends.items() if there.first[place] < end}
        #: Until when records are gone (milliseconds since 1970): a log loses its beginning only. Gaps after that are
        #: markers of transactions, records of aborted ones, and rows that were compacted.
        self.lost = {place: math.inf for place, first in there.first.items() if first}

    def run(self, tell: Callable[[int], None]) -> None:
        """To the end. Raises `CannotRead` if the broker goes away."""
        self.reading.assign([TopicPartition(*place, self.there.first[place]) for place in self.left])
        heard = monotonic()
        while self.left:
            if sum(self._take(message) for message in self.reading.consume(MOST, 0.5)):
                heard = monotonic()
            if monotonic() - heard > self.silence_s:
                topic, number = next(iter(self.left))
                missing = f"{topic}[{number}] is not read to its end, nor are {len(self.left) - 1} other partitions"
                raise CannotRead(f"the broker has stopped answering: {missing}")
            tell(self.gathering.records)

    def _take(self, message: Any) -> bool:
        """Whether this was news: what is behind the end is not, nor is an error that passes."""
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
        at = believable(message.timestamp()[1], self.there.at)
        if self.lost.get(place) == math.inf:
            self.lost[place] = at
        headers = _headers(message) if place[0] in (DLQ, FIRST) else ()
        self.gathering.take(Raw(*place, offset, at, message.value(), headers))

    def _done(self, place: Partition) -> bool:
        del self.left[place]
        self.reading.pause([TopicPartition(*place)])
        return True


def believable(timestamp: int, now: int) -> int:
    """A record's timestamp, or now if it is missing, in the future, or older than timestamps are (milliseconds)."""
    return timestamp if EARLIEST <= timestamp <= now else now


_get_headers = methodcaller("headers")


def _headers(message: Any) -> Sequence[tuple[str, bytes]]:
    """Without those whose name is not UTF-8: librdkafka's Python client sets an error and returns tuples that lack it.

    To touch one ends the process. After a call of a `methodcaller` CPython looks for an error, after a direct call not
    always; the garbage collector's view of a tuple holds only what is there.
    """
    try:
        headers: Sequence[tuple[str, bytes]] = _get_headers(message) or ()
        return headers
    except (SystemError, UnicodeDecodeError):
        return [header for header in _get_headers(message) or () if len(get_referents(header)) == 2]


def read(bootstrap: str, gathering: Gathering, settle_s: float, begin: Callable[[int], Callable[[int], None]]) -> Seen:
    """Gather everything; answers how much of it there is. Raises `CannotRead`.

    `begin` is told how many records there are, and answers whom to tell how many have been read.
    """
    with consumer(bootstrap) as reading:
        there = snapshot(reading, bootstrap)
        session = Reading(reading, there, gathering)
        session.run(begin(there.records))
        others = other_topics(reading, bootstrap, gathering.other_topics)
        second = Reading(reading, others, gathering)
        second.run(lambda _count: None)
    return Seen(
        there.at,
        there.partitions,
        there.committed,
        {**session.lost, **second.lost},
        {**there.first, **others.first},
        int(settle_s * 1000),
        ends={**there.ends, **others.ends},
    )


def other_topics(reading: Consumer, bootstrap: str, named: Iterable[str]) -> Snapshot:
    """What there is to read of topics that slips name and today's plan does not have: sagas of another plan.

    Nobody knows their consumer groups, so it is not judged what these have committed.
    """
    counts = _counts(reading, bootstrap)
    places = [(topic, number) for topic in sorted(named) for number in range(counts.get(topic, 0))]
    ends = _offsets(reading, places, -1) if places else {}
    return Snapshot(0, {}, _offsets(reading, places, -2) if places else {}, ends)
