"""The timer that publishes waiting requests again: the production schedule on the clock of the simulation."""

import math
from contextlib import suppress
from typing import Any

from saga_app.saga.messages import Effects as Row
from saga_app.saga.messages import decode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.republisher import Place, Schedule, republish
from tests.simulation.clock import EPOCH
from tests.simulation.fake_clients import WORK, FakeTable, Killed, Work


class FakeTimer(Schedule):
    """A schedule with a timer of the virtual loop for each entry, in place of a service that polls."""

    def __init__(self, table: FakeTable) -> None:
        self.table, self.worker = table, table.worker
        self.bus = table.worker.bus
        super().__init__(self.bus.loop.clock)
        self.effects = Effects(table, self.row_written)
        table.recovered.append(self._recovered)

    def watch(self, place: Place, at: float) -> None:
        super().watch(place, at)
        if at < math.inf:
            loop = self.bus.loop
            loop.call_at(max(loop.now, at - EPOCH + 0.001), self._publish)  # later than the rounding of a clock's time

    def _recovered(self) -> None:
        self.clear()
        for (partition, _key), value in self.table.rows.items():
            self.row_written(partition, decode(Row, value))

    def _publish(self) -> None:
        """It may be killed before each of them, and after it."""
        if self.worker.dead:
            return
        WORK.set(Work(self.worker))  # of this callback
        outputs: Any = self.worker.new_outputs()
        with suppress(Killed):
            for due in self.take_due(self.effects.get):
                self.bus.happened["published again"] += 1
                republish(ONBOARDING, outputs, due)
