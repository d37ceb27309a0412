"""The three services on one bus, with everything that may happen to them drawn from a seed."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga.messages import DLQ, SIGNALS, Row, decode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service import policy
from saga_app.service.fault_injection import FaultInjection
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.service.onboarding_world import OnboardingWorld
from saga_app.service.step import StepLoop
from saga_app.stream import partition_of
from tests.fakes.record import FakeRecord
from tests.simulation.bus import Bus
from tests.simulation.clock import VirtualLoop
from tests.simulation.fake_clients import FakeTable
from tests.simulation.fake_timer import FakeTimer
from tests.simulation.fake_world import FakeWorld
from tests.simulation.group import Group
from tests.simulation.parameters import Parameters
from tests.simulation.worker import Handler, Worker

PARTITIONS = 2
SERVICES = ("provisioner", "authorizer", "notifier")
departments = cache(policy.load)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A request as some client wrote it."""

    id: str
    department: str
    email: str

    def value(self) -> bytes:
        return (
            f'{{"v":1,"id":"{self.id}","user":{{"name":"N","email":"{self.email}","department":"{self.department}"}}}}'
        ).encode()


class CountedLoop(StepLoop):
    """The production code; it is only counted what it need not do."""

    happened: Counter[str]

    def count_duplicate(self, record: Any, request: Any) -> None:
        if self.effects is not None:
            stopped = self.step.name in self.effects.get(record.partition, request.id).undone
            self.happened["stopped by a tombstone" if stopped else "duplicates of a waiting request absorbed"] += 1
        elif self.step.undo == "deprovision":
            self.happened["duplicates of new-user absorbed"] += 1
        else:
            self.happened["late messages absorbed"] += 1
        super().count_duplicate(record, request)

    def was_cancelled(self, *about: Any) -> bool:
        turned = super().was_cancelled(*about)
        self.happened["turned round while a step acted"] += turned
        return turned


class System:
    """Services, bus and outside world of one run."""

    def __init__(self, seed: int, parameters: Parameters, loop: VirtualLoop) -> None:
        self.seed, self.parameters, self.loop = seed, parameters, loop
        self.bus = Bus(PARTITIONS, Random(f"{seed}:bus"), loop, parameters.duplicates)
        self.happened = self.bus.happened
        self.outside = FakeWorld(seed, parameters, self.bus, departments())
        lag = (0.0, 0.0) if parameters.instant else (0.1, 2.0)
        self.faults = FaultInjection(
            lag=lag, flaky=parameters.flaky, error=parameters.errors, deny=parameters.denials / 3
        )
        self.world = OnboardingWorld(self.outside.stock, self.outside.policy, self.outside.mail, seed, loop.clock)
        self.requests: list[NewUser] = []
        self.rubbish: list[FakeRecord] = []
        self.rows: dict[str, bytes] = {}  #: the latest of each saga in the changelog
        self.bus.watchers[ROWS_CHANGELOG].append(self._row)
        self.crashes = Crashes(seed, parameters)
        self.bus.fatality = self.crashes.strikes
        self.groups = [self._group(name) for name in SERVICES]

    def _group(self, name: str) -> Group:
        changelog = EFFECTS_CHANGELOGS.get(name, ROWS_CHANGELOG)
        service = self._provisioner if name == "provisioner" else lambda table: self._other(name, table)
        group = Group(self.bus, name, changelog, 1 + self.parameters.pairs, service, drops=True)
        group.bereaved = self.outside.mail.bereaved
        return group

    def _provisioner(self, table: FakeTable) -> dict[str, Handler]:
        rows = Rows(table)
        observer = Observer(ONBOARDING, rows, PARTITIONS)
        return {**self._steps("provisioner", rows=rows), DLQ: observer.handle, SIGNALS: observer.handle}

    def _other(self, name: str, table: FakeTable) -> dict[str, Handler]:
        return self._steps(name, effects=FakeTimer(table).effects)

    def _steps(self, name: str, **memory: Any) -> dict[str, Handler]:
        return {step.topic: self._loop(step, **memory).handle for step in ONBOARDING.of(name)}

    def _loop(self, step: Any, **memory: Any) -> StepLoop:
        loop = CountedLoop(ONBOARDING, step, self.world, PARTITIONS, faults=self.faults, **memory)
        loop.happened = self.happened
        return loop

    def _row(self, record: FakeRecord) -> None:
        assert record.key is not None
        assert record.value is not None
        self.rows[record.key.decode()] = record.value

    def row(self, id: str) -> Row | None:
        """As the changelog has it."""
        value = self.rows.get(id)
        return decode(Row, value) if value is not None else None

    # -- what users and other programs do

    def begin(self) -> None:
        """Everybody is requested within the first seconds, in any order, and some of them again."""
        dice = Random(f"{self.seed}:users")
        for number in range(self.parameters.sagas):
            newcomer = self._newcomer(f"u{number}", Random(f"{self.seed}:user:{number}"))
            self.bus.soon(2.0, self.request, newcomer, dice)
            if dice.random() < self.parameters.again:
                again = NewUser(newcomer.id, dice.choice(("Sales", "Unheard-of")), "other@b.c")
                self.bus.soon(6.0, self.request, again, dice)
        for _ in range(self.parameters.garbage):
            topic = dice.choice(ONBOARDING.topics)
            self.bus.soon(5.0, self._litter, topic, dice.choice((b"?", None, b'{"v":1}', b'{"v":2,"id":"u0"}')))

    def _newcomer(self, id: str, dice: Random) -> NewUser:
        department, email = dice.choice(("Engineering", "Finance")), "a@b.c"
        if dice.random() < self.parameters.denials:
            department, email = dice.choice((("Unheard-of", email), (department, "refused@b.c")))
        return NewUser(id, department, email)

    def request(self, newcomer: NewUser, dice: Random) -> None:
        """From any client: sometimes with the wrong partition, or without a key."""
        self.requests.append(newcomer)
        key: bytes | None = newcomer.id.encode()
        partition = partition_of(newcomer.id.encode(), PARTITIONS)
        if dice.random() < self.parameters.strays:
            key, partition = dice.choice(((None, partition), (key, (partition + 1) % PARTITIONS), (None, 0)))
            self.happened["strays"] += 1
        self.bus.append("new-user", key, newcomer.value(), partition=partition)

    def _litter(self, topic: str, value: bytes | None) -> None:
        self.bus.append(topic, b"u0", value)
        self.rubbish.append(self.bus.records[-1])

    # -- misfortunes

    def calm(self) -> None:
        """From now on nothing fails by itself."""
        self.outside.reliable = True
        self.faults.flaky = self.faults.error = 0.0


#: What some crashes aim at: anything at all, or the effects after which most can go wrong.
SPOTS = ("", "", "sagas-changelog", "effects-changelog", "retract", "authorize", "new-user", "outside", "commit")


class Crashes:
    """Kills workers at points drawn from the seed."""

    def __init__(self, seed: int, parameters: Parameters) -> None:
        self.dice, self.left, self.sagas = Random(f"{seed}:crashes"), parameters.crashes, parameters.sagas
        self.spot, self.next = "", 0
        self._aim()
        self.story: list[tuple[float, str, str]] = []

    def strikes(self, worker: Worker, where: str) -> bool:
        """Whether the worker dies here, before this."""
        if not self.left or self.spot not in where:
            return False
        self.next -= 1
        if self.next:
            return False
        self.left -= 1
        self._aim()
        self.story.append((worker.bus.loop.now, worker.name, where))
        worker.kill(where)
        return True

    def _aim(self) -> None:
        """At the n-th point from now, or at the n-th of a kind."""
        self.spot = self.dice.choice(SPOTS)
        self.next = self.dice.randint(1, (6 if self.spot else 40) * self.sagas)
