"""The state machine: the order of steps and compensations, and rows that do not depend on the order of updates."""

from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import admission, decisions, machine, operator_signals, saga_row
from saga_app.saga.codec import encode, replace_fields
from saga_app.saga.messages import DeadLetter, Message, Parked, Row, Signal, Slip
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Denied, Done, Step
from saga_app.saga.times import utc
from tests.builders import ADA, NO, Stop, at, end_of_journey, journey, request_to, requested, topics, waiting_row


def rows(path: list[Stop]) -> list[Row]:
    """The version of the saga's row after each message and at the end."""
    return [
        saga_row.row_ended(stop, at(n))
        if isinstance(stop, decisions.End)
        else saga_row.row_waiting_for(ONBOARDING, *stop, at(n))
        for n, stop in enumerate(path)
    ]


def step_on(topic: str) -> Step:
    step = ONBOARDING.on(topic)
    assert step is not None
    return step


def next_after_done(request: Message, step: Step) -> decisions.Next | decisions.End:
    """Where the saga goes when this step has succeeded."""
    return machine.next_after(request, step, machine.answer_of(step, Done(), 1, at(0), at(0), at(1)))


def test_a_user_is_onboarded_in_the_order_of_the_plan() -> None:
    assert topics(journey()) == ["new-user", "authorize", "notify", "notified", "completed"]


def test_a_user_without_a_policy_loses_the_device_and_gets_no_mail() -> None:
    assert topics(journey({"authorize": NO})) == ["new-user", "authorize", "deprovision", "rolled-back"]


def test_a_refused_mail_is_compensated_newest_step_first() -> None:
    assert topics(journey({"notify": NO})) == [
        "new-user", "authorize", "notify", "revoke", "deprovision", "rolled-back",
    ]  # fmt: skip


def test_a_saga_without_a_device_ends_rolled_back_immediately() -> None:
    assert topics(journey({"provision": Denied("out of stock")})) == ["new-user", "rolled-back"]


def test_a_failed_compensation_stops_no_others_and_is_not_rolled_back() -> None:
    path = journey({"notify": NO, "revoke": Denied("the policy service is gone")})
    assert topics(path)[-2:] == ["deprovision", "rollback-incomplete"]


def test_a_rollback_slip_without_a_denial_still_ends() -> None:
    forged = replace_fields(requested(), slip=Slip(ahead=[], back=[], undoing=True))
    end = next_after_done(forged, step_on("deprovision"))
    assert isinstance(end, decisions.End)
    assert end.state == "rolled-back"


def test_the_row_has_the_reason_of_the_denial() -> None:
    last = rows(journey({"authorize": NO}))[-1]
    assert (last.state, last.reason) == ("rolled-back", NO.reason)


def test_the_facts_of_all_steps_are_in_the_row() -> None:
    facts = rows(journey())[-1].facts
    assert facts["device_id"] == "LT-1"
    assert facts["authorizations"] == ["git"]


def test_a_saga_in_flight_finishes_by_the_slip_with_which_it_began() -> None:
    request = replace_fields(requested(), slip=Slip(ahead=["notified"], back=[]))
    after = next_after_done(request, ONBOARDING.steps[0])
    assert isinstance(after, decisions.Next)
    assert after.topic == "notified"


def test_slip_and_facts_of_a_client_are_ignored() -> None:
    forged = Message(v=1, id="x", user=ADA, slip=Slip(["dlq"], []), facts={"device_id": "mine"})
    begun = admission.begin(ONBOARDING, forged, at(0))
    assert begun.slip == ONBOARDING.slip()
    assert begun.facts == {}


@pytest.mark.field(3)
@pytest.mark.parametrize(
    "start", [utc(253_402_300_799.999), at(1), datetime(1000, 1, 1, tzinfo=UTC), utc(1_451_606_399.999)]
)
def test_only_the_provisioner_corrects_an_implausible_start(start: datetime) -> None:
    message = replace_fields(request_to("authorize"), started_at=start)
    assert admission.admit(ONBOARDING, "authorize", message, at(0)).started_at == start
    assert admission.with_plausible_start(message, at(0)).started_at == at(0)


@pytest.mark.field(3, 36)
def test_a_row_never_ends_before_it_started() -> None:
    row = saga_row.row_ended(end_of_journey(), at(-300))
    assert row.ended_at == row.updated_at == row.started_at == at(0)


@pytest.mark.field(3, 36)
def test_a_step_has_no_negative_duration_when_the_clock_is_set_back() -> None:
    visit = machine.answer_of(ONBOARDING.steps[0], Done(), 1, at(5), at(4), at(-3600)).visit
    assert visit.received_at == visit.started_at == visit.ended_at == at(5)


SignalKind = Literal["failed", "overdue", "redriven", "cancelled"]

OPERATOR_SIGNALS: tuple[SignalKind, ...] = ("redriven", "cancelled")

PATHS = st.sampled_from(
    [
        journey(),
        journey({"authorize": NO}),
        journey({"notify": NO}),
        journey({"notify": NO, "revoke": NO}),
        journey({"provision": NO}),
    ]
)


@given(PATHS, st.data())
def test_joining_is_independent_of_order_and_duplicates(path: list[Stop], data: st.DataObject) -> None:
    versions = rows(path)
    updates = data.draw(st.permutations(versions)) + data.draw(st.lists(st.sampled_from(versions)))
    row: Row | None = None
    for update in updates:
        row = saga_row.join(row, update)
    assert row == versions[-1]


@given(PATHS, st.data())
def test_joining_an_older_version_returns_the_same_row(path: list[Stop], data: st.DataObject) -> None:
    versions = rows(path)
    position = data.draw(st.integers(0, len(versions) - 1))
    late = data.draw(st.integers(0, position))
    assert saga_row.join(versions[position], versions[late]) is versions[position]


def parked_row(topic: str, attempts: int, second: float) -> Row:
    """The row of Ada's saga after the request on this topic was dead-lettered in this second."""
    step, message, time = step_on(topic), request_to(topic), at(second)
    letter = DeadLetter(
        v=1,
        topic=topic,
        partition=0,
        offset=1,
        service=step.service,
        step=step.name,
        error="Permanent",
        reason="gone",
        attempts=attempts,
        received_at=time,
        at=time,
        id="ada",
    )
    row = saga_row.row_parked(ONBOARDING, Parked(letter, message, b""))
    assert row is not None
    return row


def test_a_parked_saga_has_a_reason_and_runs_again_after_a_redrive() -> None:
    parked = saga_row.join(waiting_row("authorize"), parked_row("authorize", 5, 2))
    assert (parked.state, parked.reason) == ("parked", "gone")
    redriven = replace_fields(request_to("authorize"), attempt=2)
    row = saga_row.row_waiting_for(ONBOARDING, "authorize", redriven, at(3))
    assert saga_row.join(parked, row).state == "running"


def test_a_late_dead_letter_does_not_park_a_saga_that_has_continued() -> None:
    row = waiting_row("notify", 2)
    assert saga_row.join(row, parked_row("authorize", 5, 2)) is row


def signal(kind: SignalKind, second: float) -> Signal:
    return Signal(v=1, id="ada", saga="onboarding", kind=kind, step="authorize", service="authorizer", at=at(second))


def test_overdue_is_a_lasting_mark_and_not_a_state() -> None:
    row = operator_signals.mark_signal(rows(journey())[1], signal("overdue", 1))
    assert (row.state, row.overdue) == ("running", True)
    assert saga_row.join(row, rows(journey())[-1]).overdue


def test_a_signal_older_than_the_last_one_changes_nothing() -> None:
    row = operator_signals.mark_signal(rows(journey())[1], signal("failed", 5))
    assert operator_signals.mark_signal(row, signal("failed", 4)) is row


def test_a_signal_after_the_end_of_a_saga_changes_nothing() -> None:
    row = rows(journey())[-1]
    assert operator_signals.mark_signal(row, signal("failed", 99)) is row


def test_a_request_is_past_only_when_its_successor_has_a_result() -> None:
    first, versions = request_to("new-user"), rows(journey())
    assert not machine.is_past(versions[1], first), "the row may have been written and the message not sent"
    assert machine.is_past(versions[2], first)
    assert machine.is_past(versions[-1], first)


def operator_signal(kind: SignalKind, attempt: int = 2) -> Signal:
    """An operator's signal to the step authorize, in second 50."""
    return Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind=kind,
        step="authorize",
        service="authorizer",
        at=at(50),
        attempt=attempt,
        by="ana",
    )


def decide(row: Row, signal: Signal) -> tuple[Row, decisions.Next]:
    """The row after an operator's signal, and the request that follows; fails if there is none."""
    decision = operator_signals.apply_operator_signal(ONBOARDING, row, signal)
    assert decision is not None
    assert isinstance(decision.onward, decisions.Next)
    return saga_row.join(row, decision.row), decision.onward


def test_a_second_redrive_of_the_same_attempt_does_nothing() -> None:
    row, onward = decide(parked_row("authorize", 1, 9), operator_signal("redriven"))
    assert (row.state, row.attempt) == ("running", 2)
    assert (onward.topic, onward.message.attempt) == ("authorize", 2)
    assert (
        operator_signals.apply_operator_signal(ONBOARDING, row, replace_fields(operator_signal("redriven"), at=at(51)))
        is None
    )


def test_a_redelivered_operator_signal_leads_to_the_same_request() -> None:
    for kind in OPERATOR_SIGNALS:
        row, onward = decide(parked_row("authorize", 1, 9), operator_signal(kind))
        same_row, same_onward = decide(row, operator_signal(kind))
        assert encode(same_onward.message) == encode(onward.message)
        assert same_row == row


def test_redrives_that_precede_their_dead_letters_wait_for_each_step() -> None:
    row = waiting_row("authorize")
    for attempt in (2, 3, 2):
        for step in ("notify", "authorize"):
            row = operator_signals.mark_signal(row, replace_fields(operator_signal("redriven", attempt), step=step))
    for topic in ("authorize", "notify"):
        row = saga_row.join(row, parked_row(topic, 1, 9))
        redrive = operator_signals.awaited_redrive(row)
        assert redrive is not None
        assert (redrive.step, redrive.attempt) == (row.step, 3)


@pytest.mark.parametrize("topic", ["new-user", "authorize", "notify", "notified"])
def test_a_rollback_compensates_every_possible_effect_newest_first(topic: str) -> None:
    row, onward = decide(parked_row(topic, 1, 9), operator_signal("cancelled"))
    slip = onward.message.slip
    assert slip is not None
    assert [onward.topic, *slip.ahead] == ["retract", "revoke", "deprovision"]
    assert (row.state, row.reason) == ("rolling-back", "cancelled by ana")


def test_a_cancelled_saga_ignores_late_forward_requests() -> None:
    row, _ = decide(rows(journey())[1], operator_signal("cancelled"))
    assert machine.is_past(row, request_to("notified"))
    assert saga_row.join(row, waiting_row("notified", 60)) is row


def test_a_saga_that_has_ended_is_neither_redriven_nor_rolled_back() -> None:
    for kind in OPERATOR_SIGNALS:
        assert operator_signals.apply_operator_signal(ONBOARDING, rows(journey())[-1], operator_signal(kind)) is None


def test_a_cancelled_saga_is_rolled_back_after_all_compensations() -> None:
    onward: decisions.Next | decisions.End
    _, onward = decide(parked_row("notify", 1, 9), operator_signal("cancelled"))
    while isinstance(onward, decisions.Next):
        onward = next_after_done(onward.message, step_on(onward.topic))
    assert isinstance(onward, decisions.End)
    assert onward.state == "rolled-back"


def test_a_missed_deadline_stays_in_the_row() -> None:
    row = operator_signals.mark_signal(rows(journey())[1], replace_fields(operator_signal("overdue", 1), due_at=at(40)))
    assert (row.overdue, row.due_at, row.state) == (True, at(40), "running")
    assert saga_row.join(row, rows(journey())[-1]).due_at == at(40)


def test_a_rollback_without_a_denial_in_its_history_ends() -> None:
    message = replace_fields(requested(), slip=Slip([], [], undoing=True), history=[])
    after = next_after_done(message, step_on("deprovision"))
    assert isinstance(after, decisions.End)
    assert after.state == "rolled-back"


def unreadable_letter(topic: str, step: str) -> Parked:
    """A dead letter of Ada's saga whose original cannot be read."""
    return Parked(
        DeadLetter(
            v=1,
            topic=topic,
            partition=3,
            offset=14,
            service="s",
            step=step,
            error="BadMessage",
            reason="not JSON",
            attempts=1,
            received_at=at(9),
            at=at(9),
            id="ada",
        ),
        None,
        b"",
    )


@pytest.mark.field(3)
@pytest.mark.parametrize(
    ("topic", "step"), [("authorize", "authorize"), ("notify", "notify"), ("notified", "complete")]
)
def test_an_unreadable_request_parks_its_saga(topic: str, step: str) -> None:
    waiting = waiting_row("authorize")
    parked = saga_row.row_parked(ONBOARDING, unreadable_letter(topic, step), waiting)
    assert parked is not None
    row = saga_row.join(waiting, parked)
    assert (row.state, row.step, row.reason, row.updated_at) == ("parked", "authorize", "not JSON", at(9))
    redriven = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="redriven",
        step="authorize",
        service="authorizer",
        at=at(20),
        attempt=row.attempt + 1,
    )
    _, onward = decide(row, redriven)
    assert (onward.topic, onward.message.facts) == ("authorize", {"device_id": "LT-1"})
    cancelled = replace_fields(redriven, kind="cancelled", attempt=row.attempt)
    assert decide(row, cancelled)[0].state == "rolling-back"


def test_an_unreadable_record_of_another_step_parks_nothing() -> None:
    row = waiting_row("notify")
    assert saga_row.row_parked(ONBOARDING, unreadable_letter("new-user", "provision"), row) is None
    assert saga_row.row_parked(ONBOARDING, unreadable_letter("authorize", "authorize"), row) is None
    assert (
        saga_row.row_parked(ONBOARDING, unreadable_letter("notify", "notify"), replace_fields(row, state="completed"))
        is None
    )
    assert saga_row.row_parked(ONBOARDING, unreadable_letter("notify", "notify")) is None
