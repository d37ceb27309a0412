"""The offset of the broker's clock is measured from acknowledgements, and corrects the start times of sagas."""

from datetime import datetime

import pytest
from prometheus_client import REGISTRY

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.codec import decode
from saga_app.saga.messages import Message
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.kafka.broker_clock import WINDOW_S, BrokerClock, ahead_of
from saga_app.service.memory.rows import Rows
from saga_app.service.step import StepLoop
from saga_app.stream import partition_of
from tests.builders import START, at
from tests.fakes.clock import FakeClock
from tests.fakes.record import FakeRecord
from tests.unit.step_harness import NEW_USER_REQUEST, PARTITIONS, FakeRows, SentMessages, fake_world

pytestmark = pytest.mark.field(36)


def observe(broker_clock: BrokerClock, ahead_s: float, delay_s: float) -> None:
    """Observe an acknowledgement that arrives `delay_s` after a broker, whose clock is ahead, appended the record."""
    broker_clock.observe(True, int((broker_clock.clock() - delay_s + ahead_s) * 1000))


@pytest.mark.parametrize("ahead_s", [-300.0, 0.0, 300.0])
def test_the_offset_is_that_of_the_fastest_acknowledgement(ahead_s: float) -> None:
    clock = FakeClock()
    broker_clock = BrokerClock(ROWS_CHANGELOG, clock)
    for delay_s in (0.5, 0.004, 2.0):
        clock.now += 1
        observe(broker_clock, ahead_s, delay_s)
    assert broker_clock.known
    assert broker_clock.ahead_s == pytest.approx(ahead_s, abs=0.005)
    metric = REGISTRY.get_sample_value("saga_broker_clock_ahead_seconds", {"topic": ROWS_CHANGELOG})
    assert metric == pytest.approx(ahead_s, abs=0.005)


def test_a_corrected_clock_is_measured_again() -> None:
    clock = FakeClock()
    broker_clock = BrokerClock(ROWS_CHANGELOG, clock)
    observe(broker_clock, 300.0, 0.0)
    for _ in range(2):
        clock.now += WINDOW_S
        observe(broker_clock, 0.0, 0.0)
    assert broker_clock.ahead_s == pytest.approx(0.0, abs=0.005)
    clock.now += 3600
    observe(broker_clock, -300.0, 0.0)
    assert broker_clock.ahead_s == pytest.approx(-300.0, abs=0.005)


def test_timestamps_of_clients_and_implausible_ones_are_not_measured() -> None:
    broker_clock = BrokerClock("t", FakeClock())
    assert not broker_clock.known
    broker_clock.observe(False, int((START + 300) * 1000))
    broker_clock.observe(True, 1234)
    assert (broker_clock.known, broker_clock.ahead_s) == (True, 0.0)
    assert ahead_of(1234, START) is None


class ObservedOutputs(SentMessages):
    """Outputs whose acknowledgements are observed; the clock of the broker is `ahead_s` ahead."""

    def __init__(self, broker_clock: BrokerClock, ahead_s: float) -> None:
        super().__init__()
        self.broker_clock, self.ahead_s = broker_clock, ahead_s

    async def acknowledged(self) -> None:
        observe(self.broker_clock, self.ahead_s, 0.0)


async def start_times(ahead_s: float, waited_s: float, known: bool) -> tuple[datetime, datetime | None]:
    """Process the first request of a saga. Returns the start time in its row, and in its next message.

    `ahead_s`: the offset of the broker's clock. `waited_s`: how long the request has waited in its topic. `known`:
    whether the offset is measured before the request is processed.
    """
    clock = FakeClock()
    broker_clock, table = BrokerClock(ROWS_CHANGELOG, clock), FakeRows()
    outputs = ObservedOutputs(broker_clock, ahead_s)
    if known:
        observe(broker_clock, ahead_s, 0.0)
    world = fake_world(clock=clock)
    loop = StepLoop(ONBOARDING, ONBOARDING.steps[0], world, PARTITIONS, Rows(table), broker_clock=broker_clock)
    appended_ms = int((START - waited_s + ahead_s) * 1000)
    record = FakeRecord("new-user", partition_of(b"ada", PARTITIONS), 7, appended_ms, b"ada", NEW_USER_REQUEST)
    await loop.handle(outputs, None, record)
    message = decode(Message, outputs.messages[-1][2])
    return table.row("ada").started_at, message.started_at


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("ahead_s", [-300.0, 0.0, 300.0])
@pytest.mark.parametrize("waited_s", [0.0, 40.0, 3600.0])
async def test_the_start_of_a_saga_is_converted_to_the_local_clock(
    ahead_s: float, waited_s: float, known: bool
) -> None:
    assert await start_times(ahead_s, waited_s, known) == (at(-waited_s), at(-waited_s))
