"""Simulated operators, who redrive and roll back sagas, sometimes twice or against each other."""

from random import Random
from typing import Literal

from saga_app.saga.codec import encode, parse
from saga_app.saga.messages import DLQ, SIGNALS, Parked, Row, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.times import utc
from tests.fakes.record import FakeRecord
from tests.simulation.fake_world import MAX_DEFERRAL_S
from tests.simulation.system import System

Kind = Literal["redriven", "cancelled"]

#: A saga is redriven during the run only before this attempt: some faults persist until the faults are switched off.
MAX_ATTEMPT = 4
#: How often the operators settle all parked sagas at the end.
SETTLE_ROUNDS = 8
#: The time in which operators roll back random sagas, and overdue signals are published (seconds).
ACTIVE_S = 12.0
#: The second operator acts this long after the first (seconds).
SECOND_OPERATOR_DELAY_S = 3
#: The delay of a rollback, and of a redrive at the end (seconds).
SHORT_DELAY_S = 0.01


class Operators:
    """Two operators, ana and ben, who act on what the console shows: saga rows and dead letters."""

    def __init__(self, system: System) -> None:
        self.system, self.bus = system, system.bus
        self.dice = Random(f"{system.seed}:operators")
        self.signals: list[Signal] = []  #: all that they have sent
        self._is_settling = False
        self.bus.watchers[DLQ].append(self._dead_letter_appended)
        for _ in range(system.parameters.rollbacks):
            while_mails_wait = system.parameters.deferred_mails and self.dice.random() < 0.5
            self.bus.call_within(MAX_DEFERRAL_S if while_mails_wait else ACTIVE_S, self._roll_back_random_saga)
        for _ in range(system.parameters.overdue):
            self.bus.call_within(ACTIVE_S, self._publish_overdue_signal)

    def _dead_letter_appended(self, record: FakeRecord) -> None:
        """Redrive some sagas as soon as their dead letter is written, perhaps before the Provisioner reads it."""
        letter = parse(DLQ, record.value, record.headers)
        if self._is_settling or not isinstance(letter, Parked) or letter.message is None:
            return
        if self.dice.random() < self.system.parameters.redrives and letter.message.attempt < MAX_ATTEMPT:
            id, step, attempt = letter.message.id, letter.letter.step, letter.message.attempt
            delay_s = self.dice.choice((SHORT_DELAY_S, 1.0, 8.0))
            self._schedule_signals(delay_s, "redriven", id, step, attempt + 1)

    def _random_row(self) -> Row | None:
        ids = sorted(self.system.rows)
        return self.system.row(self.dice.choice(ids)) if ids else None

    def _roll_back_random_saga(self) -> None:
        row = self._random_row()
        if row is not None:
            self._schedule_signals(SHORT_DELAY_S, "cancelled", row.id, row.step, row.attempt)

    def _publish_overdue_signal(self) -> None:
        """Mark a random saga as overdue, as the Provisioner's timer does."""
        row = self._random_row()
        if row is not None and not row.ended:
            at = utc(self.bus.loop.clock())
            signal = Signal(
                v=1, id=row.id, saga=row.saga, kind="overdue", step=row.step, service="provisioner", at=at, due_at=at
            )
            self.bus.append(SIGNALS, row.id.encode(), encode(signal))

    def _schedule_signals(self, delay_s: float, kind: Kind, id: str, step: str, attempt: int) -> None:
        """Send a signal after at most `delay_s`; sometimes a second operator sends the same one or the opposite."""
        self.bus.call_within(delay_s, self._send_signal, "ana", kind, id, step, attempt)
        if self.dice.random() < self.system.parameters.second_signals:
            opposite: Kind = "redriven" if kind == "cancelled" else "cancelled"
            second = opposite if self.dice.random() < 0.4 else kind
            delay_s += SECOND_OPERATOR_DELAY_S
            self.bus.call_within(delay_s, self._send_signal, "ben", second, id, step, attempt)

    def _send_signal(self, by: str, kind: Kind, id: str, step: str, attempt: int) -> None:
        planned = ONBOARDING.step_named(step)
        service = planned.service if planned else "provisioner"
        at = utc(self.bus.loop.clock())
        signal = Signal(
            v=1, id=id, saga="onboarding", kind=kind, step=step, service=service, at=at, attempt=attempt, by=by
        )
        self.signals.append(signal)
        self.bus.append(SIGNALS, id.encode(), encode(signal))

    def settle_parked(self) -> bool:
        """Redrive or roll back every parked saga; returns whether there was any."""
        self._is_settling = True
        parked = [row for id in sorted(self.system.rows) if (row := self.system.row(id)) and row.state == "parked"]
        for row in parked:
            self._settle(row)
        return bool(parked)

    def _settle(self, row: Row) -> None:
        if self.dice.random() < 0.3 and self.system.parameters.rollbacks:
            self._schedule_signals(SHORT_DELAY_S, "cancelled", row.id, row.step, row.attempt)
        else:
            self._schedule_signals(SHORT_DELAY_S, "redriven", row.id, row.step, row.attempt + 1)
