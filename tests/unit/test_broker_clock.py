"""The broker's clock is measured from acknowledgements, and corrects when a saga has started."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import REGISTRY

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import Message, decode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service import policy
from saga_app.service.kafka.broker_clock import WINDOW_S, BrokerClock, ahead_of
from saga_app.service.memory.rows import Rows
from saga_app.service.onboarding_world import FilePolicy, MockStock, OnboardingWorld
from saga_app.service.step import StepLoop
from saga_app.stream import partition_of
from tests.builders import START, at
from tests.fakes.record import FakeRecord
from tests.unit.test_step import ASKED, PARTITIONS, Mail, Rowbook, Sent

pytestmark = pytest.mark.field(36)


@dataclass
class Clock:
    """Shows what it is told."""

    now: float = START

    def __call__(self) -> float:
        return self.now


def observed(clock: Clock, measured: BrokerClock, ahead: float, took: float) -> None:
    """An acknowledgement from a broker whose clock is so far ahead, after so many seconds."""
    measured.observe(True, int((clock.now - took + ahead) * 1000))


@pytest.mark.parametrize("ahead", [-300.0, 0.0, 300.0])
def test_the_quickest_acknowledgement_tells_the_difference(ahead: float) -> None:
    clock = Clock()
    measured = BrokerClock(ROWS_CHANGELOG, clock)
    for took in (0.5, 0.004, 2.0):
        clock.now += 1
        observed(clock, measured, ahead, took)
    assert measured.known
    assert measured.ahead_s == pytest.approx(ahead, abs=0.005)
    metric = REGISTRY.get_sample_value("saga_broker_clock_ahead_seconds", {"topic": ROWS_CHANGELOG})
    assert metric == pytest.approx(ahead, abs=0.005)


def test_a_clock_that_was_corrected_is_measured_again() -> None:
    clock = Clock()
    measured = BrokerClock(ROWS_CHANGELOG, clock)
    observed(clock, measured, 300.0, 0.0)
    for _ in range(2):
        clock.now += WINDOW_S
        observed(clock, measured, 0.0, 0.0)
    assert measured.ahead_s == pytest.approx(0.0, abs=0.005)
    clock.now += 3600
    observed(clock, measured, -300.0, 0.0)
    assert measured.ahead_s == pytest.approx(-300.0, abs=0.005)


def test_where_clients_set_the_timestamps_there_is_nothing_to_measure() -> None:
    measured = BrokerClock("t", Clock())
    assert not measured.known
    measured.observe(False, int((START + 300) * 1000))
    measured.observe(True, 1234)
    assert (measured.known, measured.ahead_s) == (True, 0.0)
    assert ahead_of(1234, START) is None


class Acknowledging(Sent):
    """A receipt whose acknowledgements carry the time of a broker."""

    def __init__(self, measured: BrokerClock, ahead: float) -> None:
        super().__init__()
        self.measured, self.ahead = measured, ahead

    async def acknowledged(self) -> None:
        self.measured.observe(True, int((self.measured.clock() + self.ahead) * 1000))


def started(ahead: float, waited: float, known: bool) -> tuple[str, str]:
    """When a saga has started by its row and by its next message, if its request waited for so long in the topic."""
    clock = Clock()
    measured, table = BrokerClock(ROWS_CHANGELOG, clock), Rowbook()
    outputs = Acknowledging(measured, ahead)
    if known:
        observed(clock, measured, ahead, 0.0)
    departments = policy.load()
    world = OnboardingWorld(MockStock(departments), FilePolicy(departments), Mail(), clock=clock)
    loop = StepLoop(ONBOARDING, ONBOARDING.steps[0], world, PARTITIONS, Rows(table), broker_clock=measured)
    appended = int((START - waited + ahead) * 1000)
    record = FakeRecord("new-user", partition_of(b"ada", PARTITIONS), 7, appended, b"ada", ASKED)
    asyncio.run(_handle(loop, outputs, record))
    sent = decode(Message, outputs.messages[-1][2])
    return table.row("ada").started_at, sent.started_at or ""


async def _handle(loop: StepLoop, outputs: Any, record: FakeRecord) -> None:
    await loop.handle(outputs, None, record)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("ahead", [-300.0, 0.0, 300.0])
@pytest.mark.parametrize("waited", [0.0, 40.0, 3600.0])
def test_a_saga_starts_when_it_was_asked_for_by_our_clock(ahead: float, waited: float, known: bool) -> None:
    assert started(ahead, waited, known) == (at(-waited), at(-waited))
