"""Deadlines: a saga that takes too long is reported as overdue once, also after a crash of the Provisioner."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import admission, deadline, operator_signals, saga_row
from saga_app.saga.codec import encode, replace_fields
from saga_app.saga.messages import Message, Row, Signal, Slip
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Plan
from saga_app.saga.timeline import why
from saga_app.saga.times import iso, utc
from saga_app.service.memory.deadlines import MIN_OUTDATED, RESEND_AFTER_S, Deadlines
from tests.builders import START, at, end_of_journey, waiting_row
from tests.fakes.clock import FakeClock


def plan_with_deadlines(**deadlines_s: float) -> Plan:
    """The onboarding with these step deadlines; the other steps have practically none."""
    steps = tuple(replace(step, deadline=deadlines_s.get(step.name, 1e6)) for step in ONBOARDING.steps)
    return Plan("onboarding", steps, ONBOARDING.compensations)


def test_a_saga_is_due_at_the_deadline_of_sagas() -> None:
    assert deadline.due(plan_with_deadlines(), waiting_row("authorize"), 60.0) == START + 60.0


def test_a_saga_is_due_earlier_if_its_step_has_a_shorter_deadline() -> None:
    assert deadline.due(plan_with_deadlines(provision=5.0), waiting_row("new-user"), 60.0) == START + 5.0


def test_deadlines_of_steps_unknown_to_the_provisioner_are_added_up() -> None:
    plan = plan_with_deadlines(authorize=10.0, notify=20.0, complete=1.0)
    row = waiting_row("authorize")
    assert deadline.due(plan, row, 1e6) == row.history[-1].ended_at.timestamp() + 30.0


class DeadlineTable:
    """Saga rows, the deadlines that are computed from them (60 s for a saga), and the clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.deadlines = Deadlines(ONBOARDING, 60.0, self.clock)
        self.rows: dict[str, Row] = {}

    def write(self, row: Row) -> Row:
        self.rows[row.id] = row
        self.deadlines.row_written(0, row, encode(row))
        return row

    def take_due(self) -> list[Signal]:
        """The signals that are due now."""
        return self.deadlines.take_due(lambda _partition, id: self.rows.get(id))


def test_an_overdue_saga_is_reported_once_with_step_and_reason() -> None:
    table = DeadlineTable()
    row = table.write(waiting_row("authorize"))
    table.clock.now = START + 59.9
    assert table.take_due() == []
    table.clock.now = START + 60.1
    (signal,) = table.take_due()
    assert (signal.kind, signal.step, signal.service, signal.due_at) == ("overdue", "authorize", "authorizer", at(60))
    assert "no message received since authorize was requested" in (signal.reason or "")
    table.write(operator_signals.mark_signal(row, signal))
    table.clock.now += 10 * RESEND_AFTER_S
    assert table.take_due() == []


def test_an_overdue_signal_is_repeated_until_the_row_is_marked() -> None:
    table = DeadlineTable()
    table.write(waiting_row("authorize"))
    table.clock.now = START + 61
    assert len(table.take_due()) == 1
    assert table.take_due() == []
    table.clock.now += RESEND_AFTER_S
    assert len(table.take_due()) == 1


def test_a_saga_that_ended_in_time_is_never_overdue() -> None:
    table = DeadlineTable()
    table.write(waiting_row("authorize"))
    table.write(saga_row.row_ended(end_of_journey(), at(5)))
    table.clock.now = START + 1e6
    assert table.take_due() == []


def test_sagas_that_ended_leave_no_entries_in_the_index_of_deadlines() -> None:
    table = DeadlineTable()
    for number in range(3 * MIN_OUTDATED):
        table.write(replace_fields(waiting_row("authorize"), id=f"u{number}"))
        table.write(replace_fields(saga_row.row_ended(end_of_journey(), at(5)), id=f"u{number}"))
    late = table.write(waiting_row("authorize"))
    assert len(table.deadlines.known) == 1
    assert len(table.deadlines.heap) <= MIN_OUTDATED + 3
    table.clock.now = START + 61
    assert [signal.id for signal in table.take_due()] == [late.id]


def test_an_overdue_parked_saga_names_the_reason_for_parking() -> None:
    table = DeadlineTable()
    table.write(replace_fields(waiting_row("notify"), state="parked", reason="the mail server is gone"))
    table.clock.now = START + 61
    assert [signal.reason for signal in table.take_due()] == ["parked: the mail server is gone"]


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 200), st.booleans()), max_size=60), st.floats(0, 300))
def test_take_due_finds_the_same_sagas_as_a_scan_of_all_rows(writes: list[tuple[int, float, bool]], now: float) -> None:
    table = DeadlineTable()
    message = Message(v=1, id="x", user=waiting_row("new-user").user)
    for number, started, marked in writes:
        begun = admission.begin(ONBOARDING, replace_fields(message, id=f"u{number}"), utc(START + started))
        row = saga_row.row_waiting_for(ONBOARDING, "new-user", begun, utc(START + started))
        table.write(replace_fields(row, overdue=marked))
    table.clock.now = START + now
    found = {signal.id for signal in table.take_due()}
    overdue = {
        id
        for id, row in table.rows.items()
        if deadline.due(ONBOARDING, row, 60.0) <= table.clock.now and not row.overdue
    }
    assert found == overdue


def test_an_overdue_saga_names_the_step_that_is_retried() -> None:
    failed = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="failed",
        step="notify",
        service="notifier",
        at=at(58),
        attempt=4,
        attempts=5,
        next_at=at(62),
        reason="the server is gone",
    )
    signal = deadline.overdue_signal(
        ONBOARDING, replace_fields(waiting_row("authorize"), trouble=failed), START + 60, START + 60
    )
    assert (signal.step, signal.service) == ("notify", "notifier")
    assert "the server is gone" in (signal.reason or "")


def row_with_deferred_mail(second: float, next_at: float) -> Row:
    """The row of Ada's saga after its mail was deferred in this second: it waits for authorize and has the signal."""
    failed = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="failed",
        step="notify",
        service="notifier",
        at=at(second),
        attempt=6,
        attempts=16,
        next_at=at(next_at),
        reason="451",
    )
    return operator_signals.mark_signal(waiting_row("authorize"), failed)


@pytest.mark.field(11)
def test_a_saga_with_planned_retries_is_overdue_only_if_one_is_missed() -> None:
    table = DeadlineTable()
    table.write(waiting_row("authorize"))
    table.write(row_with_deferred_mail(20, 320))
    table.clock.now = START + 320 + deadline.ATTEMPT_GRACE_S - 0.1
    assert table.take_due() == []
    table.write(row_with_deferred_mail(330, 900))
    table.clock.now = START + 900 + deadline.ATTEMPT_GRACE_S + 0.1
    (signal,) = table.take_due()
    assert (signal.step, signal.service, signal.due_at) == ("notify", "notifier", at(900 + deadline.ATTEMPT_GRACE_S))
    assert f"attempt 7 of 16 was due at {iso(at(900))} and has not reported a result" in (signal.reason or "")


@pytest.mark.field(11)
@pytest.mark.parametrize(
    "row",
    [
        row_with_deferred_mail(20, 45),
        replace_fields(row_with_deferred_mail(20, 3600), state="parked", reason="451"),
        replace_fields(
            row_with_deferred_mail(20, 3600),
            state="rolling-back",
            step="retract",
            slip=Slip(["revoke", "deprovision"], [], True),
        ),
    ],
    ids=["the next attempt is soon", "parked", "the step was cancelled"],
)
def test_the_deadline_stays_if_no_later_attempt_is_planned(row: Row) -> None:
    assert deadline.due(ONBOARDING, row, 60.0) <= START + 62.0


def test_a_late_completion_states_the_delay() -> None:
    row = replace_fields(saga_row.row_ended(end_of_journey(), at(72)), overdue=True, due_at=at(60))
    assert why(ONBOARDING, row, at(100)) == "completed in 72.0 s, 12.0 s late"


def test_with_a_hundred_thousand_open_sagas_only_due_rows_are_read() -> None:
    table = DeadlineTable()
    for number in range(100_000):
        table.deadlines.watch((0, f"u{number}"), START + 100 + number)
    table.write(waiting_row("authorize"))
    table.clock.now = START + 61
    rows_read: list[str] = []

    def read_row(_partition: int, id: str) -> Row | None:
        rows_read.append(id)
        return table.rows.get(id)

    table.deadlines.take_due(read_row)
    assert rows_read == ["ada"]
