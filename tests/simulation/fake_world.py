"""The outside world with a memory: which device is whose, what is granted, which mails went out, and to whom."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from random import Random

from saga_app.active_plan import EFFECTS_CHANGELOGS
from saga_app.saga.messages import Effects, decode
from saga_app.saga.retry import Deferred, Permanent, Transient
from saga_app.service.policy import Department
from tests.fakes.record import FakeRecord
from tests.simulation.bus import Bus
from tests.simulation.fake_clients import WORK
from tests.simulation.parameters import Parameters
from tests.simulation.worker import Worker

WELCOME, FOLLOW_UP = "notify", "retract"

#: The longest for which a recipient's mails are deferred (seconds): well within the reach of the mail's retries.
DEFERRED_S = 7200.0

#: The longest that a call may be on its way: with its answer it stays within the time that a step has (seconds).
SLOW_S = 8.0


class FakeWorld:
    """Every call has its effect between two moments at which its worker may be killed; its answer may be lost."""

    def __init__(self, seed: int, parameters: Parameters, bus: Bus, departments: Mapping[str, Department]) -> None:
        self.dice, self.parameters, self.bus, self.departments = Random(f"{seed}:outside"), parameters, bus, departments
        self.reliable = False
        self.stock, self.policy, self.mail = Stock(self), Policy(self), Mail(self)

    async def asked(self) -> None:
        """On the way there, which now and then takes longer than a rebalance waits for."""
        WORK.get().worker.survives("before the outside is asked")
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.random() * (SLOW_S if self.dice.random() < 0.05 else 1.0))

    async def answered(self) -> bool:
        """On the way back; False if the answer is lost."""
        WORK.get().worker.survives("before the outside has answered")
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.random())
        return self.reliable or not (self.parameters.lost and self.dice.random() < self.parameters.lost)

    def lost(self) -> Exception:
        """What an adapter makes of an answer that does not come; some give up at once."""
        kind = Permanent if self.dice.random() < 0.3 else Transient
        return kind("no answer; it may have been done")


class Stock:
    """Devices by key: the same key gets the same device until it is taken back."""

    def __init__(self, outside: FakeWorld) -> None:
        self.outside = outside
        self.held: dict[str, str] = {}
        self.serial = 0

    async def assign(self, key: str, department: str) -> str:
        await self.outside.asked()
        if key not in self.held:
            self.serial += 1
            self.held[key] = f"PC-{self.serial}"
        device = self.held[key]
        if not await self.outside.answered():
            raise self.outside.lost()
        return device

    async def take_back(self, key: str, device_id: str | None) -> None:
        await self.outside.asked()
        self.held.pop(key, None)
        if not await self.outside.answered():
            raise self.outside.lost()

    def of(self, id: str) -> list[str]:
        """The devices that a user holds."""
        return [device for key, device in self.held.items() if key.split(":")[1] == id]


class Policy:
    """What is granted, by key."""

    def __init__(self, outside: FakeWorld) -> None:
        self.outside = outside
        self.granted: dict[str, list[str]] = {}

    async def grant(self, key: str, department: str) -> list[str] | None:
        await self.outside.asked()
        found = self.outside.departments.get(department)
        if found:
            self.granted[key] = found.authorizations
        if not await self.outside.answered():
            raise self.outside.lost()
        return found.authorizations if found else None

    async def revoke(self, key: str) -> None:
        await self.outside.asked()
        self.granted.pop(key, None)
        if not await self.outside.answered():
            raise self.outside.lost()

    def of(self, id: str) -> list[str]:
        """The keys under which something is granted to a user."""
        return [key for key in self.granted if key.split(":")[1] == id]


class Mail:
    """A server that does not know its keys: a mail that is sent twice is two mails.

    Between its acceptance and the note of it a window is open. Only who is killed in it, or hears no answer, may send
    that mail again: so many are allowed, and not one more.
    """

    def __init__(self, outside: FakeWorld) -> None:
        self.outside = outside
        self.sent: Counter[tuple[str, str]] = Counter()  #: by user and step
        self.allowed: Counter[tuple[str, str]] = Counter()  #: second mails that nobody can prevent
        self.to: defaultdict[str, set[str]] = defaultdict(set)
        self.after_tombstone: list[str] = []
        self.deferred_until: dict[str, float] = {}  #: by user, from the first mail on
        self.moody: set[str] = set()  #: whose mail was refused by chance: the next time it might not be
        self.unclear: set[str] = set()  #: whose mail was begun, and nobody knows whether it was sent
        self._windows: dict[tuple[str, str], Worker] = {}
        self._closed: set[tuple[str, str]] = set()
        outside.bus.watchers[EFFECTS_CHANGELOGS["notifier"]].append(self._noted)

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        await self.outside.asked()
        if to.startswith("refused"):
            await self.outside.answered()
            return "550 no such user"
        _, id, step, *_ = key.split(":")
        mail = id, step
        if self._is_deferred(id):
            await self.outside.answered()
            raise Deferred("451 greylisted, try again later")
        if step == WELCOME and not self.outside.reliable and self.outside.dice.random() < self.outside.parameters.moods:
            self.moody.add(id)
            await self.outside.answered()
            return "452 come back later"
        self._accept(mail, to)
        if not await self.outside.answered():
            self._cut(mail)
            raise self.outside.lost()
        return None

    def _is_deferred(self, id: str) -> bool:
        now, dice, share = self.outside.bus.loop.now, self.outside.dice, self.outside.parameters.deferred
        if share and id not in self.deferred_until:
            self.deferred_until[id] = now + dice.random() * DEFERRED_S if dice.random() < share else now
        return now < self.deferred_until.get(id, now)

    def _accept(self, mail: tuple[str, str], to: str) -> None:
        id, step = mail
        self.sent[mail] += 1
        self.to[id].add(to)
        if step == WELCOME and mail in self._closed:
            self.after_tombstone.append(id)
        self._windows[mail] = WORK.get().worker

    def _noted(self, record: FakeRecord) -> None:
        row = decode(Effects, record.value)
        for step in row.answers:
            self._windows.pop((row.id, step), None)
        unclear = WELCOME in row.begun and WELCOME not in row.answers
        (self.unclear.add if unclear else self.unclear.discard)(row.id)
        self._closed |= {(row.id, step) for step in row.undone}

    def _cut(self, mail: tuple[str, str]) -> None:
        self._windows.pop(mail, None)
        self.allowed[mail] += 1
        self.outside.bus.happened["mails that could not be noted"] += 1

    def bereaved(self, worker: Worker, _where: str) -> None:
        """A worker was killed: what it has not noted may be sent again."""
        for mail in [mail for mail, whose in self._windows.items() if whose is worker]:
            self._cut(mail)
