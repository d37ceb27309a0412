"""Publishes delayed requests when they are due: the production schedule on the virtual clock."""

import math
from contextlib import suppress

from saga_app.saga.codec import decode
from saga_app.saga.messages import Effects as EffectsRow
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.republisher import Place, Schedule, republish
from tests.simulation.clock import EPOCH
from tests.simulation.fake_clients import CURRENT_WORK, FakeTable, Killed, Work

#: Added to each due time, so that the rounding of floats and of ISO times does not make a timer fire early (seconds).
ROUNDING_S = 0.001


class FakeTimer(Schedule):
    """A schedule that sets a timer of the virtual loop for each entry, where `Republisher` polls."""

    def __init__(self, table: FakeTable) -> None:
        self.table, self.worker = table, table.worker
        self.bus = table.worker.bus
        super().__init__(self.bus.loop.clock)
        self.effects = Effects(table, self.row_written)
        table.on_recovered.append(self._rebuild)

    def watch(self, place: Place, at: float) -> None:
        super().watch(place, at)
        if at < math.inf:
            loop = self.bus.loop
            loop.call_at(max(loop.now, at - EPOCH + ROUNDING_S), self._publish)

    def _rebuild(self) -> None:
        self.clear()
        for (partition, _key), value in self.table.rows.items():
            self.row_written(partition, decode(EffectsRow, value))

    def _publish(self) -> None:
        """Publish what is due; the worker can be killed before and after each request."""
        if self.worker.dead:
            return
        CURRENT_WORK.set(Work(self.worker))  # in the context of this callback
        outputs = self.worker.new_outputs()
        with suppress(Killed):
            for due in self.take_due(self.effects.get):
                self.bus.events["delayed requests published"] += 1
                republish(ONBOARDING, outputs, due)
