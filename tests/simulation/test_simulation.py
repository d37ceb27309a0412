"""All services on a fake bus, with a seed: duplicates, reordering, lag, crashes. Every saga ends as it must."""

import asyncio
import random
from collections import Counter, defaultdict

import pytest

from saga_app.saga import machine
from saga_app.saga.messages import CHANGELOG, DLQ, EFFECTS, SIGNALS, Parked, Row, Signal, decode, parse
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service import policy
from saga_app.service.effects import Effects
from saga_app.service.observer import Observer
from saga_app.service.rows import Rows
from saga_app.service.step import StepLoop
from saga_app.service.world import FilePolicy, Mischief, MockStock, World
from tests.bus import Bus, FakeTable, VirtualLoop, Worker, simulate

PARTITIONS = 3
SEEDS = range(150)


class CountingMail:
    """A mail server that knows its idempotency keys."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        self.sent[key] += 1
        return "550 no such user" if to.startswith("refused") else None


class System:
    """The three services on one bus."""

    def __init__(self, seed: int, loop: VirtualLoop, **mischief: float) -> None:
        self.dice = random.Random(seed)
        self.bus = Bus(PARTITIONS, self.dice, loop.clock)
        departments = policy.load()
        self.mail = CountingMail()
        self.world = World(
            MockStock(departments),
            FilePolicy(departments),
            self.mail,
            Mischief(lag=(0.1, 2.0), **mischief),
            seed,
            clock=loop.clock,
        )
        self.table = FakeTable(self.bus)
        rows = Rows(self.table)
        observer = Observer(ONBOARDING, rows, PARTITIONS)
        self.provisioner = Worker(
            self.bus,
            {**self._steps("provisioner", rows), DLQ: observer.handle, SIGNALS: observer.handle},
            self.table,
        )
        self.workers = [self.provisioner, self._worker("authorizer"), self._worker("notifier")]

    def _worker(self, service: str) -> Worker:
        table = FakeTable(self.bus, EFFECTS[service])
        return Worker(self.bus, self._steps(service, effects=Effects(table)), table)

    def _steps(self, service: str, rows: Rows | None = None, effects: Effects | None = None) -> dict[str, object]:
        return {
            step.topic: StepLoop(ONBOARDING, step, self.world, PARTITIONS, rows, effects).handle
            for step in ONBOARDING.of(service)
        }

    def new_user(self, id: str, department: str, email: str = "a@b.c") -> None:
        """From any client: sometimes with the wrong partition, or without a key."""
        value = b'{"v":1,"id":"%b","user":{"name":"N","email":"%b","department":"%b"}}' % (
            id.encode(),
            email.encode(),
            department.encode(),
        )
        if self.dice.random() < 0.3:
            self.bus.append("new-user", None, value)
        else:
            self.bus.append("new-user", id.encode(), value)

    async def run(self, crashes: int = 0) -> None:
        """Until nothing is under way any more."""
        quiet = 0
        while quiet < 3:
            active = False
            for worker in self.workers:
                active |= worker.poll()
                active |= worker.busy()
            quiet = 0 if active else quiet + 1
            await asyncio.sleep(0.05)
            if crashes and self.dice.random() < 0.05:
                crashes -= 1
                self.dice.choice(self.workers).crash()

    def row(self, id: str) -> Row:
        """As the table has it."""
        rows = {key: value for (_, key), value in self.table.rows.items()}
        return decode(Row, rows[id.encode()])


def sagas(system: System, count: int = 12) -> dict[str, str]:
    """Users of all kinds, with the state in which each must end."""
    expected = {}
    for n in range(count):
        kind = n % 4
        if kind == 2:
            system.new_user(f"u{n}", "Unheard-of")
        elif kind == 3:
            system.new_user(f"u{n}", "Sales", email="refused@b.c")
        else:
            system.new_user(f"u{n}", system.dice.choice(["Engineering", "Finance"]))
        expected[f"u{n}"] = "completed" if kind < 2 else "rolled-back"
    return expected


def endings(system: System) -> dict[str, set[str]]:
    """All endings that the changelog ever told, by saga."""
    told = defaultdict(set)
    for record in system.bus.records():
        if record.topic == CHANGELOG and (row := decode(Row, record.value)).ended:
            told[row.id].add(row.state)
    return told


@pytest.mark.parametrize("seed", SEEDS)
def test_every_saga_ends_once_as_it_must_whatever_is_duplicated_late_or_killed(seed: int) -> None:
    async def main(loop: VirtualLoop) -> None:
        system = System(seed, loop, flaky=0.1)
        system.bus.duplicate_rate = 0.15
        expected = sagas(system)
        await system.run(crashes=6)
        assert {id: system.row(id).state for id in expected} == expected
        assert endings(system) == {id: {state} for id, state in expected.items()}
        assert set(system.mail.sent) == {f"onboarding:u{n}:notify" for n in range(12) if n % 4 != 2}
        devices = defaultdict(set)
        for record in system.bus.records():
            if record.topic == "authorize":
                message = parse(record.topic, record.value, record.headers)
                devices[message.id].add(message.facts["device_id"])
        assert all(len(held) == 1 for held in devices.values())

    simulate(main)


def test_without_crashes_and_duplicates_nobody_gets_a_second_mail() -> None:
    async def main(loop: VirtualLoop) -> None:
        system = System(1, loop)
        sagas(system)
        await system.run()
        assert set(system.mail.sent.values()) == {1}

    simulate(main)


def test_a_user_who_is_requested_twice_is_onboarded_once() -> None:
    async def main(loop: VirtualLoop) -> None:
        system = System(2, loop)
        system.new_user("ada", "Sales")
        system.new_user("ada", "Finance")
        await system.run()
        assert system.mail.sent == {"onboarding:ada:notify": 1}

    simulate(main)


def test_a_saga_whose_step_fails_for_good_is_parked_with_the_reason() -> None:
    async def main(loop: VirtualLoop) -> None:
        system = System(3, loop, error=0.3)
        for n in range(40):
            system.new_user(f"u{n}", "Sales")
        await system.run(crashes=3)
        rows = [system.row(f"u{n}") for n in range(40)]
        assert {row.state for row in rows} == {"completed", "parked"}
        assert all("SAGA_ERROR_RATE" in (row.reason or "") for row in rows if row.state == "parked")

    simulate(main)


@pytest.mark.parametrize("seed", range(20))
def test_the_console_tells_the_same_whatever_order_it_reads_the_topics_in(seed: int) -> None:
    async def main(loop: VirtualLoop) -> None:
        system = System(seed, loop, flaky=0.2, error=0.05)
        system.bus.duplicate_rate = 0.1
        expected = sagas(system)
        await system.run(crashes=2)
        records = system.bus.records()
        system.dice.shuffle(records)
        assert {id: row.state for id, row in folded(records).items()} == {id: system.row(id).state for id in expected}

    simulate(main)


def folded(records: list) -> dict[str, Row]:
    """The console's view: every topic, in any order."""
    rows: dict[str, Row] = {}
    for record in records:
        if record.topic in EFFECTS.values():
            continue
        body = parse(record.topic, record.value, record.headers)
        if isinstance(body, Signal):
            continue
        if isinstance(body, Parked):
            news = machine.parked(ONBOARDING, body)
        elif isinstance(body, Row):
            news = body
        else:
            news = machine.asked(ONBOARDING, record.topic, body, "2026-01-01T00:00:00.000Z")
        if news is not None:
            rows[news.id] = machine.apply(rows.get(news.id), news)
    return rows
