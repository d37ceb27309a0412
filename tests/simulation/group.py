"""A consumer group: the workers of a service, their partitions, and the committed offsets."""

import asyncio
from collections.abc import Callable, Iterator

from faust.types import TP

from tests.fakes.record import FakeRecord
from tests.simulation.bus import Bus
from tests.simulation.fake_clients import Work
from tests.simulation.worker import Service, Worker


class Group:
    """The workers of a service.

    `service`: creates the handlers of a worker. `size`: the number of workers at the start. `may_shrink`: a killed
    worker is sometimes not restarted if others are left.
    """

    def __init__(
        self, bus: Bus, name: str, changelog: str, size: int, service: Service, *, may_shrink: bool = False
    ) -> None:
        self.bus, self.name, self.changelog, self.service, self.may_shrink = bus, name, changelog, service, may_shrink
        self.committed: dict[TP, int] = {}
        self.members: list[Worker] = []
        self.on_worker_stopped: Callable[[Worker], None] = lambda _worker: None
        self._started_workers = 0
        self._generation = 0
        for _ in range(size):
            self._start_worker()
        for topic in self.members[0].streams:
            bus.watchers[topic].append(self._record_appended)
        self._assign_partitions()

    def _start_worker(self) -> None:
        self._started_workers += 1
        self.members.append(Worker(self, f"{self.name}-{self._started_workers}"))

    def _record_appended(self, record: FakeRecord) -> None:
        for worker in self.members:
            if record.partition in worker.partitions:
                worker.schedule_fetch(TP(record.topic, record.partition))

    def remove(self, worker: Worker) -> None:
        """Remove a killed worker: its partitions are reassigned, and it is usually restarted."""
        self.members.remove(worker)
        self.on_worker_stopped(worker)
        if self.members:
            self.bus.call_within(self.bus.max_delays.session_s, self._start_rebalance)
            if self.may_shrink and self.bus.dice.random() < 0.5:
                self.bus.events["workers removed"] += 1
                return
        self.bus.call_within(self.bus.max_delays.restart_s, self._restart_worker)

    def _restart_worker(self) -> None:
        self._start_worker()
        self._start_rebalance()

    def _start_rebalance(self) -> None:
        self._generation += 1
        self.bus.events["rebalances"] += 1
        self._rebalancing = self.bus.loop.create_task(self._rebalance(self._generation))

    async def _rebalance(self, generation: int) -> None:
        if members := list(self.members):
            await asyncio.gather(*(worker.drain() for worker in members), return_exceptions=True)
        if generation == self._generation:  # otherwise another rebalance has begun
            for worker in self.members:
                worker.release_partitions()
            self._assign_partitions()

    def _assign_partitions(self) -> None:
        for number, worker in enumerate(self.members):
            worker.assign(list(range(number, self.bus.partitions, len(self.members))))

    def commit(self, tp: TP, offset: int, works: dict[int, Work]) -> None:
        """Commit an offset, and report each record before it that is not finished. `works`: by offset."""
        for before in range(self.committed.get(tp, 0), offset):
            work = works.get(before)
            if work is None or not work.is_finished:
                self.bus.violations.append(
                    f"{self.name}: {tp.topic}[{tp.partition}] was committed past {before}, which is unfinished"
                )
        self.committed[tp] = offset

    def uncommitted(self) -> Iterator[str]:
        """A sentence for each partition that is not committed up to its end."""
        for topic in self.members[0].streams if self.members else ():
            for partition in range(self.bus.partitions):
                tp = TP(topic, partition)
                end = len(self.bus.logs.get(tp, ()))
                if self.committed.get(tp, 0) < end:
                    yield f"{self.name}: {topic}[{partition}] is committed up to {self.committed.get(tp, 0)} of {end}"
