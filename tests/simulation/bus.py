"""A Kafka of pure Python: logs, to which records come after a moment, and now and then twice."""

from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from faust.types import TP

from saga_app.saga.messages import SIGNALS
from saga_app.stream import partition_of
from saga_app.stream.produce.outputs import BY_KEY
from tests.fakes.record import FakeRecord
from tests.simulation.clock import VirtualLoop

if TYPE_CHECKING:
    from tests.simulation.worker import Worker


class Delays(NamedTuple):
    """The longest of each kind (seconds)."""

    send: float = 0.05
    slow: float = 2.0  #: now and then a broker takes as long
    fetch: float = 0.3
    late: float = 15.0  #: now and then a partition waits as long
    commit: float = 1.5
    session: float = 3.0
    restart: float = 4.0


class Bus:
    """Topics with partitions; appending is the only way in."""

    def __init__(self, partitions: int, dice: Random, loop: VirtualLoop, duplicates: float = 0.0) -> None:
        self.partitions, self.dice, self.loop, self.duplicates = partitions, dice, loop, duplicates
        self.delays = Delays()
        self.logs: dict[TP, list[FakeRecord]] = {}
        self.records: list[FakeRecord] = []  #: all, in the order in which they were written
        self.watchers: defaultdict[str, list[Callable[[FakeRecord], None]]] = defaultdict(list)
        self.happened: Counter[str] = Counter()
        self.wrong: list[str] = []  #: what must not happen, and did
        self.fatality: Callable[[Worker, str], bool] = lambda _worker, _where: False

    def append(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None, partition: int = BY_KEY
    ) -> None:
        """Into the log; now and then twice."""
        if partition == BY_KEY:
            partition = self.dice.randrange(self.partitions) if key is None else partition_of(key, self.partitions)
        tp = TP(topic, partition)
        log = self.logs.setdefault(tp, [])
        likely = 0.0 if topic.endswith("-changelog") else self.duplicates * (2 if topic == SIGNALS else 1)
        twice = likely and self.dice.random() < likely
        for _ in range(2 if twice else 1):
            at = int(self.loop.clock() * 1000)
            record = FakeRecord(topic, partition, len(log), at, key, value, list(headers or ()))
            log.append(record)
            self.records.append(record)
            for watcher in self.watchers[topic]:
                watcher(record)
        self.happened["records sent twice"] += bool(twice)

    def soon(self, most: float, then: Callable[..., None], *arguments: Any) -> None:
        """After a moment of at most so many seconds."""
        self.loop.call_later(self.dice.random() * most, then, *arguments)
