"""The three services on one bus, with users, external systems and crashes, all derived from a seed."""

from collections import Counter
from functools import cache
from random import Random
from typing import NamedTuple

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga.codec import decode
from saga_app.saga.messages import DLQ, SIGNALS, Row
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Step
from saga_app.service import policy
from saga_app.service.fault_injection import FaultInjection
from saga_app.service.job import Job
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.initiator_memory import was_cancelled
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

#: When users are requested, garbage is sent, and users are requested again: from the start up to this time (seconds).
REQUESTS_WITHIN_S, GARBAGE_WITHIN_S, REPEATS_WITHIN_S = 2.0, 5.0, 6.0

GARBAGE = (b"?", None, b'{"v":1}', b'{"v":2,"id":"u0"}')

load_departments = cache(policy.load)


class NewUser(NamedTuple):
    """A client's request to onboard a user."""

    id: str
    department: str
    email: str

    def value(self) -> bytes:
        return (
            f'{{"v":1,"id":"{self.id}","user":{{"name":"N","email":"{self.email}","department":"{self.department}"}}}}'
        ).encode()


class CountingStepLoop(StepLoop):
    """The production step loop, which also counts the requests that it absorbs."""

    events: Counter[str]

    def count_duplicate(self, job: Job) -> None:
        if isinstance(self.kept, Effects):
            has_tombstone = self.step.name in self.kept.get(*job.place).undone
            self.events["stopped by a tombstone" if has_tombstone else "duplicates of a delayed request absorbed"] += 1
        elif self.step.undo == "deprovision":
            self.events["duplicates of new-user absorbed"] += 1
        else:
            self.events["late messages absorbed"] += 1
        super().count_duplicate(job)

    def advance(self, job: Job) -> bool:
        row = self.kept.get(*job.place)
        self.events["cancelled while a step acted"] += isinstance(row, Row) and was_cancelled(row, job.request)
        return super().advance(job)


class System:
    """The services, the bus and the external systems of one run."""

    def __init__(self, seed: int, parameters: Parameters, loop: VirtualLoop) -> None:
        self.seed, self.parameters, self.loop = seed, parameters, loop
        self.bus = Bus(PARTITIONS, Random(f"{seed}:bus"), loop, parameters.duplicates)
        self.events = self.bus.events
        self.fake_world = FakeWorld(seed, parameters, self.bus, load_departments())
        lag = (0.0, 0.0) if parameters.instant else (0.1, 2.0)
        self.faults = FaultInjection(
            lag=lag, flaky=parameters.flaky, error=parameters.errors, deny=parameters.denials / 3
        )
        self.world = OnboardingWorld(
            self.fake_world.stock, self.fake_world.policy, self.fake_world.mail, seed, loop.clock
        )
        self.requests: list[NewUser] = []
        self.garbage: list[FakeRecord] = []
        self.rows: dict[str, bytes] = {}  #: the latest row of each saga in the changelog
        self.bus.watchers[ROWS_CHANGELOG].append(self._row_appended)
        self.crashes = Crashes(seed, parameters)
        self.bus.crash_hook = self.crashes.kill_if_due
        self.groups = [self._group(name) for name in SERVICES]

    def _group(self, name: str) -> Group:
        changelog = EFFECTS_CHANGELOGS.get(name, ROWS_CHANGELOG)

        def make_handlers(table: FakeTable) -> dict[str, Handler]:
            return self._provisioner(table) if name == "provisioner" else self._other_service(name, table)

        size = 1 + self.parameters.extra_workers
        group = Group(self.bus, name, changelog, size, make_handlers, may_shrink=True)
        group.on_worker_stopped = self.fake_world.mail.on_worker_stopped
        return group

    def _provisioner(self, table: FakeTable) -> dict[str, Handler]:
        rows = Rows(table)
        observer = Observer(ONBOARDING, rows, PARTITIONS)
        return {**self._steps("provisioner", rows), DLQ: observer.handle, SIGNALS: observer.handle}

    def _other_service(self, name: str, table: FakeTable) -> dict[str, Handler]:
        return self._steps(name, FakeTimer(table).effects)

    def _steps(self, service: str, kept: Rows | Effects) -> dict[str, Handler]:
        return {step.topic: self._step_loop(step, kept).handle for step in ONBOARDING.of(service)}

    def _step_loop(self, step: Step, kept: Rows | Effects) -> StepLoop:
        loop = CountingStepLoop(ONBOARDING, step, self.world, PARTITIONS, kept, faults=self.faults)
        loop.events = self.events
        return loop

    def _row_appended(self, record: FakeRecord) -> None:
        assert record.key is not None
        assert record.value is not None
        self.rows[record.key.decode()] = record.value

    def row(self, id: str) -> Row | None:
        """The latest row of a saga in the changelog."""
        value = self.rows.get(id)
        return decode(Row, value) if value is not None else None

    # -- records of clients

    def start(self) -> None:
        """Schedule the requests of all users, some of them twice, and the garbage."""
        dice = Random(f"{self.seed}:users")
        for number in range(self.parameters.sagas):
            user = self._make_user(f"u{number}", Random(f"{self.seed}:user:{number}"))
            self.bus.call_within(REQUESTS_WITHIN_S, self._send_request, user, dice)
            if dice.random() < self.parameters.repeated_users:
                repeated = NewUser(user.id, dice.choice(("Sales", "Unheard-of")), "other@b.c")
                self.bus.call_within(REPEATS_WITHIN_S, self._send_request, repeated, dice)
        for _ in range(self.parameters.garbage):
            topic = dice.choice(ONBOARDING.topics)
            self.bus.call_within(GARBAGE_WITHIN_S, self._send_garbage, topic, dice.choice(GARBAGE))

    def _make_user(self, id: str, dice: Random) -> NewUser:
        department, email = dice.choice(("Engineering", "Finance")), "a@b.c"
        if dice.random() < self.parameters.denials:
            department, email = dice.choice((("Unheard-of", email), (department, "refused@b.c")))
        return NewUser(id, department, email)

    def _send_request(self, user: NewUser, dice: Random) -> None:
        """Request a user, sometimes on a wrong partition or without a key."""
        self.requests.append(user)
        key: bytes | None = user.id.encode()
        partition = partition_of(user.id.encode(), PARTITIONS)
        if dice.random() < self.parameters.misplaced:
            key, partition = dice.choice(((None, partition), (key, (partition + 1) % PARTITIONS), (None, 0)))
            self.events["misplaced requests"] += 1
        self.bus.append("new-user", key, user.value(), partition=partition)

    def _send_garbage(self, topic: str, value: bytes | None) -> None:
        self.bus.append(topic, b"u0", value)
        self.garbage.append(self.bus.records[-1])

    def stop_faults(self) -> None:
        """Inject no more faults into steps and external calls."""
        self.fake_world.is_reliable = True
        self.faults.flaky = self.faults.error = 0.0


#: What a crash point contains that a crash is planned for: anything, or an effect after which much can go wrong.
CRASH_TARGETS = (
    "",
    "",
    "sagas-changelog",
    "effects-changelog",
    "retract",
    "authorize",
    "new-user",
    "external call",
    "commit",
)


class Crashes:
    """Kills workers at crash points drawn from the seed."""

    def __init__(self, seed: int, parameters: Parameters) -> None:
        self.dice, self.sagas = Random(f"{seed}:crashes"), parameters.sagas
        self.log: list[tuple[float, str, str]] = []  #: time, worker and crash point of each crash
        self._left = parameters.crashes
        self._target, self._points_left = "", 0
        self._plan_next()

    def kill_if_due(self, worker: Worker, point: str) -> bool:
        """Kill the worker if a crash is planned for this crash point; returns whether it was killed."""
        if not self._left or self._target not in point:
            return False
        self._points_left -= 1
        if self._points_left:
            return False
        self._left -= 1
        self._plan_next()
        self.log.append((worker.bus.loop.now, worker.name, point))
        worker.kill()
        return True

    def _plan_next(self) -> None:
        """Plan the next crash for the n-th crash point from now that matches the target."""
        self._target = self.dice.choice(CRASH_TARGETS)
        self._points_left = self.dice.randint(1, (6 if self._target else 40) * self.sagas)
