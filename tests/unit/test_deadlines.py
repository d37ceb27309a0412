"""A saga that takes too long says so, in time, and whatever happened to the Provisioner meanwhile."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import deadline, machine
from saga_app.saga.messages import Message, Row, Signal, Slip, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Plan
from saga_app.saga.timeline import why
from saga_app.saga.times import epoch, iso
from saga_app.service.memory.deadlines import RESEND_AFTER_S, Deadlines
from tests.builders import START, at, journey

STEPS_S = {step.topic: step.deadline for step in ONBOARDING.steps + ONBOARDING.compensations}


def asked(topic: str, second: float = 1, plan: Plan = ONBOARDING) -> Row:
    """Ada's saga, waiting for the step of a topic."""
    return machine.row_waiting_for(
        plan, topic, dict(stop for stop in journey() if isinstance(stop, tuple))[topic], at(second)
    )


def quick(**seconds: float) -> Plan:
    """The onboarding with other deadlines of its steps."""
    steps = tuple(replace(step, deadline=seconds.get(step.name, 1e6)) for step in ONBOARDING.steps)
    return Plan("onboarding", steps, ONBOARDING.compensations)


class Clock:
    """Shows what it is told."""

    now = START

    def __call__(self) -> float:
        return self.now


def test_a_saga_is_due_when_it_takes_longer_than_a_saga_may() -> None:
    assert deadline.due(quick(), asked("authorize"), 60.0) == START + 60.0


def test_a_step_that_takes_longer_than_it_may_makes_its_saga_due_earlier() -> None:
    assert deadline.due(quick(provision=5.0), asked("new-user"), 60.0) == START + 5.0


def test_steps_of_which_the_provisioner_hears_nothing_are_waited_for_together() -> None:
    plan = quick(authorize=10.0, notify=20.0, complete=1.0)
    assert deadline.due(plan, asked("authorize"), 1e6) == epoch(asked("authorize").history[-1].ended_at) + 30.0


def index(seconds: float = 60.0) -> tuple[Deadlines, dict[str, Row], Clock]:
    """An index, the rows that it asks for, and its clock."""
    clock = Clock()
    return Deadlines(ONBOARDING, seconds, clock), {}, clock


def come(deadlines: Deadlines, rows: dict[str, Row]) -> list[Signal]:
    return deadlines.take_due(lambda _partition, id: rows.get(id))


def keep(deadlines: Deadlines, rows: dict[str, Row], row: Row) -> Row:
    """Write a row."""
    rows[row.id] = row
    deadlines.row_written(0, row, encode(row))
    return row


def test_what_is_overdue_is_said_once_with_the_step_and_the_reason() -> None:
    deadlines, rows, clock = index()
    row = keep(deadlines, rows, asked("authorize"))
    clock.now = START + 59.9
    assert come(deadlines, rows) == []
    clock.now = START + 60.1
    (signal,) = come(deadlines, rows)
    assert (signal.kind, signal.step, signal.service, signal.due_at) == ("overdue", "authorize", "authorizer", at(60))
    assert "no message received since authorize was requested" in (signal.reason or "")
    keep(deadlines, rows, machine.mark_signal(row, signal))
    clock.now += 10 * RESEND_AFTER_S
    assert come(deadlines, rows) == []


def test_what_was_said_and_not_noted_is_said_again() -> None:
    deadlines, rows, clock = index()
    keep(deadlines, rows, asked("authorize"))
    clock.now = START + 61
    assert len(come(deadlines, rows)) == 1
    assert come(deadlines, rows) == []
    clock.now += RESEND_AFTER_S
    assert len(come(deadlines, rows)) == 1


def test_what_has_ended_in_time_is_never_overdue() -> None:
    deadlines, rows, clock = index()
    keep(deadlines, rows, asked("authorize"))
    end = journey()[-1]
    assert isinstance(end, machine.End)
    keep(deadlines, rows, machine.row_ended(end, at(5)))
    clock.now = START + 1e6
    assert come(deadlines, rows) == []


def test_a_parked_saga_is_overdue_for_the_reason_for_which_it_is_parked() -> None:
    deadlines, rows, clock = index()
    keep(deadlines, rows, replace(asked("notify"), state="parked", reason="the mail server is gone"))
    clock.now = START + 61
    assert [signal.reason for signal in come(deadlines, rows)] == ["parked: the mail server is gone"]


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 200), st.booleans()), max_size=60), st.floats(0, 300))
def test_the_index_finds_just_what_a_look_at_every_row_would_find(
    writes: list[tuple[int, float, bool]], now: float
) -> None:
    deadlines, rows, clock = index()
    message = Message(v=1, id="x", user=asked("new-user").user)
    for number, started, marked in writes:
        begun = machine.begin(ONBOARDING, replace(message, id=f"u{number}"), iso(START + started))
        keep(
            deadlines,
            rows,
            replace(machine.row_waiting_for(ONBOARDING, "new-user", begun, iso(START + started)), overdue=marked),
        )
    clock.now = START + now
    found = {signal.id for signal in come(deadlines, rows)}
    late = {id for id, row in rows.items() if deadline.due(ONBOARDING, row, 60.0) <= clock.now and not row.overdue}
    assert found == late


def test_a_step_that_is_tried_again_is_named_though_the_provisioner_has_not_heard_of_it() -> None:
    trouble = Signal(1, "ada", "onboarding", "failed", "notify", "notifier", at(58), 4, 5, at(62), "the server is gone")
    signal = deadline.overdue_signal(ONBOARDING, replace(asked("authorize"), trouble=trouble), START + 60, START + 60)
    assert (signal.step, signal.service) == ("notify", "notifier")
    assert "the server is gone" in (signal.reason or "")


def greylisted(second: float, next_at: float, **changes: Any) -> Row:
    """Ada's saga, whose mail was deferred: the Provisioner's row waits for authorize, and knows the signal."""
    failed = Signal(1, "ada", "onboarding", "failed", "notify", "notifier", at(second), 6, 16, at(next_at), "451")
    return replace(machine.mark_signal(asked("authorize"), failed), **changes)


@pytest.mark.field(11)
def test_a_saga_that_is_retried_as_planned_is_not_overdue_and_one_whose_attempt_is_missing_is() -> None:
    deadlines, rows, clock = index()
    keep(deadlines, rows, asked("authorize"))
    keep(deadlines, rows, greylisted(20, 320))
    clock.now = START + 320 + deadline.ATTEMPT_GRACE_S - 0.1
    assert come(deadlines, rows) == []
    keep(deadlines, rows, greylisted(330, 900))
    clock.now = START + 900 + deadline.ATTEMPT_GRACE_S + 0.1
    (signal,) = come(deadlines, rows)
    assert (signal.step, signal.service, signal.due_at) == ("notify", "notifier", at(900 + deadline.ATTEMPT_GRACE_S))
    assert f"attempt 7 of 16 was due at {at(900)} and has not reported a result" in (signal.reason or "")


@pytest.mark.field(11)
@pytest.mark.parametrize(
    "row",
    [
        greylisted(20, 45),
        greylisted(20, 3600, state="parked", reason="451"),
        greylisted(20, 3600, state="rolling-back", step="retract", slip=Slip(["revoke", "deprovision"], [], True)),
    ],
    ids=["the next attempt is soon", "parked", "the step was cancelled"],
)
def test_the_deadline_stays_when_no_attempt_is_planned_for_later(row: Row) -> None:
    assert deadline.due(ONBOARDING, row, 60.0) <= START + 62.0


def test_a_saga_that_completes_late_says_how_late() -> None:
    end = journey()[-1]
    assert isinstance(end, machine.End)
    row = replace(machine.row_ended(end, at(72)), overdue=True, due_at=at(60))
    assert why(ONBOARDING, row, at(100)) == "completed in 72.0 s, 12.0 s late"


def test_with_a_hundred_thousand_open_sagas_only_what_is_due_is_looked_at() -> None:
    deadlines, rows, clock = index()
    for number in range(100_000):
        deadlines.watch((0, f"u{number}"), START + 100 + number)
    keep(deadlines, rows, asked("authorize"))
    clock.now = START + 61
    looked_at = []
    deadlines.take_due(lambda _partition, id: looked_at.append(id) or rows.get(id))  # type: ignore[func-returns-value]
    assert looked_at == ["ada"]
