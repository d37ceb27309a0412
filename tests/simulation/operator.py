"""Operators: they redrive and roll back what they see, in haste, twice, and against each other."""

from random import Random

from saga_app.saga.messages import DLQ, SIGNALS, Parked, Row, Signal, encode, parse
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.times import iso
from tests.fakes.record import FakeRecord
from tests.simulation.fake_world import DEFERRED_S
from tests.simulation.system import System

#: After so many attempts nobody redrives a saga in haste: what is broken must be mended first.
PATIENCE = 4
#: How often operators go through all that is parked, at the end.
ROUNDS = 8


class Operators:
    """Ana and Ben, who see what the console shows: the changelog and the dead letters."""

    def __init__(self, system: System) -> None:
        self.system, self.bus = system, system.bus
        self.dice = Random(f"{system.seed}:operators")
        self.orders: list[Signal] = []
        self.over = False
        self.bus.watchers[DLQ].append(self._letter)
        for _ in range(system.parameters.rollbacks):
            while_mails_wait = system.parameters.deferred and self.dice.random() < 0.5
            self.bus.soon(DEFERRED_S if while_mails_wait else 12.0, self._interfere)
        for _ in range(system.parameters.overdue):
            self.bus.soon(12.0, self._overdue)

    def _letter(self, record: FakeRecord) -> None:
        """Sometimes somebody is quicker than the Provisioner."""
        letter = parse(DLQ, record.value, record.headers)
        parameters = self.system.parameters
        if self.over or not isinstance(letter, Parked) or letter.message is None:
            return
        if self.dice.random() < parameters.redrives and letter.message.attempt < PATIENCE:
            id, step, attempt = letter.message.id, letter.letter.step, letter.message.attempt
            delay = self.dice.choice((0.01, 1.0, 8.0))
            self._order(delay, "redriven", id, step, attempt + 1)

    def _interfere(self) -> None:
        """Roll back any saga, whatever it is doing."""
        ids = sorted(self.system.rows)
        row = self.system.row(self.dice.choice(ids)) if ids else None
        if row is not None:
            self._order(0.01, "cancelled", row.id, row.step, row.attempt)

    def _overdue(self) -> None:
        """What the Provisioner's timer would say."""
        ids = sorted(self.system.rows)
        row = self.system.row(self.dice.choice(ids)) if ids else None
        if row is not None and not row.ended:
            at = iso(self.bus.loop.clock())
            said = Signal(1, row.id, row.saga, "overdue", row.step, "provisioner", at, due_at=at)
            self.bus.append(SIGNALS, row.id.encode(), encode(said))

    def _order(self, delay: float, kind: str, id: str, step: str, attempt: int) -> None:
        self.bus.soon(delay, self._say, "ana", kind, id, step, attempt)
        if self.dice.random() < self.system.parameters.quarrels:
            contrary = self.dice.random() < 0.4
            other = "redriven" if kind == "cancelled" else "cancelled"
            self.bus.soon(delay + 3, self._say, "ben", other if contrary else kind, id, step, attempt)

    def _say(self, by: str, kind: str, id: str, step: str, attempt: int) -> None:
        asked = ONBOARDING.named(step)
        service = asked.service if asked else "provisioner"
        at = iso(self.bus.loop.clock())
        signal = Signal(1, id, "onboarding", kind, step, service, at, attempt, by=by)  # type: ignore[arg-type]
        self.orders.append(signal)
        self.bus.append(SIGNALS, id.encode(), encode(signal))

    def finish(self) -> bool:
        """Once through all that is parked; whether there was anything."""
        self.over = True
        parked = [row for id in sorted(self.system.rows) if (row := self.system.row(id)) and row.state == "parked"]
        for row in parked:
            self._settle(row)
        return bool(parked)

    def _settle(self, row: Row) -> None:
        if self.dice.random() < 0.3 and self.system.parameters.rollbacks:
            self._order(0.01, "cancelled", row.id, row.step, row.attempt)
        else:
            self._order(0.01, "redriven", row.id, row.step, row.attempt + 1)
