"""The external systems with a memory: assigned devices, granted authorizations, and sent mails."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from random import Random

from saga_app.active_plan import EFFECTS_CHANGELOGS
from saga_app.saga.codec import decode
from saga_app.saga.messages import Effects
from saga_app.saga.retry import Deferred, Permanent, Transient
from saga_app.service.policy import Department
from tests.fakes.record import FakeRecord
from tests.simulation.bus import Bus
from tests.simulation.fake_clients import CURRENT_WORK
from tests.simulation.parameters import Parameters
from tests.simulation.worker import Worker

#: The steps that send a mail.
WELCOME, FOLLOW_UP = "notify", "retract"

#: The longest time for which the mails of a user are deferred, well within the reach of the retries (seconds).
MAX_DEFERRAL_S = 7200.0

#: The longest time from the start of a call to its effect. With the reply it is within the timeout of a step (seconds).
MAX_CALL_S, MAX_USUAL_CALL_S, MAX_REPLY_S = 8.0, 1.0, 1.0


class FakeWorld:
    """The external systems, and the faults injected into calls to them.

    A worker can be killed before or after each call takes effect, and the reply to a call can be lost.
    """

    def __init__(self, seed: int, parameters: Parameters, bus: Bus, departments: Mapping[str, Department]) -> None:
        self.dice, self.parameters, self.bus, self.departments = Random(f"{seed}:outside"), parameters, bus, departments
        self.is_reliable = False  #: True: no reply is lost, and no mail is refused at random
        self.stock, self.policy, self.mail = Stock(self), Policy(self), Mail(self)

    async def before_effect(self) -> None:
        """Wait for a random time, which is sometimes longer than the time in which a rebalance lets work finish."""
        CURRENT_WORK.get().worker.crash_point("before an external call has its effect")
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.random() * (MAX_CALL_S if self.dice.random() < 0.05 else MAX_USUAL_CALL_S))

    async def after_effect(self) -> bool:
        """Wait for a random time; returns False if the reply is lost."""
        CURRENT_WORK.get().worker.crash_point("before the reply to an external call")
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.random() * MAX_REPLY_S)
        share = self.parameters.lost_replies
        return self.is_reliable or not (share and self.dice.random() < share)

    def lost_reply_error(self) -> Exception:
        """The error for a lost reply, usually one that leads to a retry."""
        kind = Permanent if self.dice.random() < 0.3 else Transient
        return kind("no reply; the call may have had its effect")


class Stock:
    """Assigned devices by idempotency key."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.assigned: dict[str, str] = {}
        self._last_number = 0

    async def assign(self, key: str, department: str) -> str:
        await self.world.before_effect()
        if key not in self.assigned:
            self._last_number += 1
            self.assigned[key] = f"PC-{self._last_number}"
        device = self.assigned[key]
        if not await self.world.after_effect():
            raise self.world.lost_reply_error()
        return device

    async def take_back(self, key: str, device_id: str | None) -> None:
        await self.world.before_effect()
        self.assigned.pop(key, None)
        if not await self.world.after_effect():
            raise self.world.lost_reply_error()

    def devices_of(self, id: str) -> list[str]:
        """The devices that are assigned to a saga."""
        return [device for key, device in self.assigned.items() if key.split(":")[1] == id]


class Policy:
    """Granted authorizations by idempotency key."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.granted: dict[str, list[str]] = {}

    async def grant(self, key: str, department: str) -> list[str] | None:
        await self.world.before_effect()
        found = self.world.departments.get(department)
        if found:
            self.granted[key] = found.authorizations
        if not await self.world.after_effect():
            raise self.world.lost_reply_error()
        return found.authorizations if found else None

    async def revoke(self, key: str) -> None:
        await self.world.before_effect()
        self.granted.pop(key, None)
        if not await self.world.after_effect():
            raise self.world.lost_reply_error()

    def grants_of(self, id: str) -> list[str]:
        """The keys of the grants of a saga."""
        return [key for key in self.granted if key.split(":")[1] == id]


class Mail:
    """A mail server that ignores idempotency keys: each call sends another mail. With `idempotent_mail` it does not.

    If the worker is killed, or the reply is lost, after a mail was accepted and before its result is recorded, the mail
    may be sent once more. `allowed_repeats` counts how often that happened; other repeated mails are violations.
    """

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.sent: Counter[tuple[str, str]] = Counter()  #: by saga id and step
        self.allowed_repeats: Counter[tuple[str, str]] = Counter()  #: by saga id and step
        self.recipients: defaultdict[str, set[str]] = defaultdict(set)  #: by saga id
        self.sent_after_tombstone: list[str] = []  #: the sagas whose welcome mail was sent after its tombstone
        self.deferred_until: dict[str, float] = {}  #: by saga id, from its first mail on
        self.randomly_refused: set[str] = set()  #: sagas whose mail was refused at random; a repeat can be accepted
        self.unclear: set[str] = set()  #: sagas with an intent record of their welcome mail, but no result
        self._unrecorded: dict[tuple[str, str], Worker] = {}  #: accepted mails without a recorded result
        self._tombstones: set[tuple[str, str]] = set()
        world.bus.watchers[EFFECTS_CHANGELOGS["notifier"]].append(self._effects_written)

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        await self.world.before_effect()
        if to.startswith("refused"):
            await self.world.after_effect()
            return "550 no such user"
        _, id, step, *_ = key.split(":")
        mail = id, step
        if self._is_deferred(id):
            await self.world.after_effect()
            raise Deferred("451 greylisted, try again later")
        share = 0.0 if self.is_idempotent else self.world.parameters.random_refusals
        if step == WELCOME and not self.world.is_reliable and self.world.dice.random() < share:
            self.randomly_refused.add(id)
            await self.world.after_effect()
            return "452 come back later"
        self._accept(mail, to)
        if not await self.world.after_effect():
            self._allow_repeat(mail)
            raise self.world.lost_reply_error()
        return None

    async def close(self) -> None:
        """Nothing to close."""

    @property
    def is_idempotent(self) -> bool:
        """Whether a second mail with the same key is ignored."""
        return bool(self.world.parameters.idempotent_mail)

    def _is_deferred(self, id: str) -> bool:
        now, dice, share = self.world.bus.loop.now, self.world.dice, self.world.parameters.deferred_mails
        if share and id not in self.deferred_until:
            self.deferred_until[id] = now + dice.random() * MAX_DEFERRAL_S if dice.random() < share else now
        return now < self.deferred_until.get(id, now)

    def _accept(self, mail: tuple[str, str], to: str) -> None:
        id, step = mail
        if self.is_idempotent and self.sent[mail]:
            return
        self.sent[mail] += 1
        self.recipients[id].add(to)
        if step == WELCOME and mail in self._tombstones:
            self.sent_after_tombstone.append(id)
        self._unrecorded[mail] = CURRENT_WORK.get().worker

    def _effects_written(self, record: FakeRecord) -> None:
        row = decode(Effects, record.value)
        for step in row.answers:
            self._unrecorded.pop((row.id, step), None)
        is_unclear = WELCOME in row.begun and WELCOME not in row.answers
        (self.unclear.add if is_unclear else self.unclear.discard)(row.id)
        self._tombstones |= {(row.id, step) for step in row.undone}

    def _allow_repeat(self, mail: tuple[str, str]) -> None:
        self._unrecorded.pop(mail, None)
        self.allowed_repeats[mail] += 1
        self.world.bus.events["mails sent without a recorded result"] += 1

    def on_worker_stopped(self, worker: Worker) -> None:
        """Allow the repeat of mails whose results a worker can no longer record: it was killed, or lost partitions."""
        for mail in [mail for mail, sender in self._unrecorded.items() if sender is worker]:
            self._allow_repeat(mail)
