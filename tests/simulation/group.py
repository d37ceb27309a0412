"""The workers of a service, who share its partitions: one is killed, another takes over, a third comes back."""

import asyncio
from collections.abc import Callable, Iterator

from faust.types import TP

from tests.fakes.record import FakeRecord
from tests.simulation.bus import Bus
from tests.simulation.worker import Service, Work, Worker


class Group:
    """The workers of a service: who has which partitions, and what is committed."""

    def __init__(self, bus: Bus, name: str, changelog: str, size: int, service: Service, drops: bool = False) -> None:
        self.bus, self.name, self.changelog, self.service, self.drops = bus, name, changelog, service, drops
        self.committed: dict[TP, int] = {}
        self.members: list[Worker] = []
        self.count = 0
        self.epoch = 0
        self.bereaved: Callable[[Worker, str], None] = lambda _worker, _where: None
        for _ in range(size):
            self._hire()
        for topic in self.members[0].streams:
            bus.watchers[topic].append(self._appended)
        self._share()

    def _hire(self) -> None:
        self.count += 1
        self.members.append(Worker(self, f"{self.name}-{self.count}"))

    def _appended(self, record: FakeRecord) -> None:
        for worker in self.members:
            if record.partition in worker.mine:
                worker.wake(TP(record.topic, record.partition))

    def lost(self, worker: Worker, where: str) -> None:
        """A worker is dead: the others take over what it had, and most often it comes back."""
        self.members.remove(worker)
        self.bereaved(worker, where)
        if self.members:
            self.bus.soon(self.bus.delays.session, self._change)
            if self.drops and self.bus.dice.random() < 0.5:
                self.bus.happened["dropped for good"] += 1
                return
        self.bus.soon(self.bus.delays.restart, self._join)

    def _join(self) -> None:
        self._hire()
        self._change()

    def _change(self) -> None:
        self.epoch += 1
        self.bus.happened["rebalanced"] += 1
        self.rebalancing = self.bus.loop.create_task(self._rebalance(self.epoch))

    async def _rebalance(self, epoch: int) -> None:
        if members := list(self.members):
            await asyncio.gather(*(worker.drain() for worker in members), return_exceptions=True)
        if epoch == self.epoch:  # else there is a newer one
            for worker in self.members:
                worker.release()
            self._share()

    def _share(self) -> None:
        for number, worker in enumerate(self.members):
            worker.assign(list(range(number, self.bus.partitions, len(self.members))))

    def commit(self, tp: TP, offset: int, works: dict[int, Work]) -> None:
        """Promise 2: all before it is done, and all that it led to is in the logs."""
        for passed in range(self.committed.get(tp, 0), offset):
            work = works.get(passed)
            if work is None or not work.finished:
                self.bus.wrong.append(f"{self.name}: {tp.topic}[{tp.partition}] committed past {passed}, not finished")
        self.committed[tp] = offset

    def behind(self) -> Iterator[str]:
        """FakeConsumer that were not read to their end."""
        for topic in self.members[0].streams if self.members else ():
            for partition in range(self.bus.partitions):
                tp = TP(topic, partition)
                end = len(self.bus.logs.get(tp, ()))
                if self.committed.get(tp, 0) < end:
                    yield f"{self.name}: {topic}[{partition}] is committed to {self.committed.get(tp, 0)} of {end}"
