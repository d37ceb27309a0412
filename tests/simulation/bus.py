"""A Kafka broker in pure Python: append-only logs, with random delays and duplicates."""

from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, NamedTuple, TypeVarTuple, Unpack

from faust.types import TP

from saga_app.saga.messages import SIGNALS
from saga_app.stream import partition_of
from saga_app.stream.produce.outputs import BY_KEY, Headers
from tests.fakes.record import FakeRecord
from tests.simulation.clock import VirtualLoop

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

Arguments = TypeVarTuple("Arguments")

#: The number of records at which a run is stopped, because the services send each other records endlessly. A usual run
#: has up to a few hundred.
MAX_RECORDS = 2000


class MaxDelays(NamedTuple):
    """Upper limits of the random delays (seconds)."""

    send_s: float = 0.05
    slow_send_s: float = 2.0
    fetch_s: float = 0.3
    slow_fetch_s: float = 15.0
    commit_s: float = 1.5
    session_s: float = 3.0
    restart_s: float = 4.0


class Bus:
    """Topics and partitions, and what the parts of a simulation share: random numbers, event counts and violations.

    `duplicates`: the share of records that are appended twice, except to changelogs; twice as many on `saga-signals`.
    """

    def __init__(self, partitions: int, dice: Random, loop: VirtualLoop, duplicates: float = 0.0) -> None:
        self.partitions, self.dice, self.loop, self.duplicates = partitions, dice, loop, duplicates
        self.max_delays = MaxDelays()
        self.logs: dict[TP, list[FakeRecord]] = {}
        self.records: list[FakeRecord] = []  #: of all topics, in the order in which they were appended
        self.watchers: defaultdict[str, list[Callable[[FakeRecord], None]]] = defaultdict(list)  #: by topic
        self.events: Counter[str] = Counter()
        self.violations: list[str] = []
        #: Called with a worker and a crash point; kills the worker and returns True if a crash is due.
        self.crash_hook: Callable[[Worker, str], bool] = lambda _worker, _point: False

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int = BY_KEY,
    ) -> None:
        """Append a record, sometimes twice, and call the watchers of its topic."""
        if partition == BY_KEY:
            partition = self.dice.randrange(self.partitions) if key is None else partition_of(key, self.partitions)
        tp = TP(topic, partition)
        log = self.logs.setdefault(tp, [])
        probability = 0.0 if topic.endswith("-changelog") else self.duplicates * (2 if topic == SIGNALS else 1)
        duplicated = probability > 0 and self.dice.random() < probability
        for _ in range(2 if duplicated else 1):
            timestamp_ms = int(self.loop.clock() * 1000)
            record = FakeRecord(topic, partition, len(log), timestamp_ms, key, value, list(headers or ()))
            log.append(record)
            self.records.append(record)
            for watcher in self.watchers[topic]:
                watcher(record)
            if len(self.records) == MAX_RECORDS:
                self.violations.append(f"stopped after {MAX_RECORDS} records: the services loop endlessly")
                self.loop.stop()
        self.events["records duplicated"] += duplicated

    def call_within(
        self, max_delay_s: float, callback: Callable[[Unpack[Arguments]], None], *arguments: *Arguments
    ) -> None:
        """Call a function after a random delay of at most `max_delay_s` seconds."""
        self.loop.call_later(self.dice.random() * max_delay_s, callback, *arguments)
