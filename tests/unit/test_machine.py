"""What follows what: the way there, the way back, and a row that is the same in whatever order the news comes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import machine
from saga_app.saga.messages import DeadLetter, Message, Parked, Row, Signal, Slip, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Denied, Done
from tests.builders import ADA, NO, at, journey, requested, topics


def rows(path: list[tuple[str, Message] | machine.End]) -> list[Row]:
    """The news that each stop of a saga is."""
    return [
        machine.row_ended(stop, at(n))
        if isinstance(stop, machine.End)
        else machine.row_waiting_for(ONBOARDING, *stop, at(n))
        for n, stop in enumerate(path)
    ]


def test_user_is_onboarded_in_the_order_of_the_plan() -> None:
    assert topics(journey()) == ["new-user", "authorize", "notify", "notified", "completed"]


def test_user_without_policy_gets_the_device_taken_back_and_no_mail() -> None:
    assert topics(journey({"authorize": NO})) == ["new-user", "authorize", "deprovision", "rolled-back"]


def test_user_whose_mail_is_refused_loses_authorizations_first_and_device_last() -> None:
    assert topics(journey({"notify": NO})) == [
        "new-user", "authorize", "notify", "revoke", "deprovision", "rolled-back",
    ]  # fmt: skip


def test_user_for_whom_there_is_no_device_ends_at_once() -> None:
    assert topics(journey({"provision": Denied("out of stock")})) == ["new-user", "rolled-back"]


def test_an_undo_that_fails_is_never_called_rolled_back_and_the_others_still_run() -> None:
    path = journey({"notify": NO, "revoke": Denied("the policy service is gone")})
    assert topics(path)[-2:] == ["deprovision", "rollback-incomplete"]


def test_a_slip_that_undoes_without_any_no_still_ends() -> None:
    forged = replace(requested(), slip=machine.Slip(ahead=[], back=[], undoing=True))
    step = ONBOARDING.on("deprovision")
    assert step is not None
    end = machine.next_after(forged, step, machine.answer_of(step, Done(), 1, at(0), at(0), at(1)))
    assert isinstance(end, machine.End)
    assert end.state == "rolled-back"


def test_the_reason_of_the_first_no_stands_in_the_row() -> None:
    last = rows(journey({"authorize": NO}))[-1]
    assert (last.state, last.reason) == ("rolled-back", NO.reason)


def test_what_the_steps_found_out_travels_with_the_saga() -> None:
    facts = rows(journey())[-1].facts
    assert facts["device_id"] == "LT-1"
    assert facts["authorizations"] == ["git"]


def test_a_saga_under_way_finishes_by_the_slip_with_which_it_began() -> None:
    request = replace(requested(), slip=machine.Slip(ahead=["notified"], back=[]))
    step = ONBOARDING.steps[0]
    after = machine.next_after(request, step, machine.answer_of(step, Done(), 1, at(0), at(0), at(1)))
    assert isinstance(after, machine.Next)
    assert after.topic == "notified"


def test_a_client_cannot_write_the_slip_or_the_facts() -> None:
    forged = Message(v=1, id="x", user=ADA, slip=machine.Slip(["dlq"], []), facts={"device_id": "mine"})
    begun = machine.begin(ONBOARDING, forged, at(0))
    assert begun.slip == ONBOARDING.slip()
    assert begun.facts == {}


@pytest.mark.field(3)
@pytest.mark.parametrize(
    "start", ["9999-12-31T23:59:59.999Z", at(1), "1000-01-01T00:00:00Z", "2015-12-31T23:59:59.999Z"]
)
def test_a_start_that_cannot_be_is_corrected_by_the_keeper_only(start: str) -> None:
    message = replace(journey()[1][1], started_at=start)  # type: ignore[index]
    assert machine.admit(ONBOARDING, "authorize", message, at(0)).started_at == start
    assert machine.with_plausible_start(message, at(0)).started_at == at(0)


@pytest.mark.field(3, 36)
def test_a_row_never_ends_before_it_started() -> None:
    end = journey()[-1]
    assert isinstance(end, machine.End)
    row = machine.row_ended(end, at(-300))
    assert row.ended_at == row.updated_at == row.started_at == at(0)


@pytest.mark.field(3, 36)
def test_a_step_takes_no_negative_time_when_the_clock_is_set_back() -> None:
    visit = machine.answer_of(ONBOARDING.steps[0], Done(), 1, at(5), at(4), at(-3600)).visit
    assert visit.received_at == visit.started_at == visit.ended_at == at(5)


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
def test_any_order_and_any_number_of_duplicates_end_the_same(
    path: list[tuple[str, Message] | machine.End], data: st.DataObject
) -> None:
    news = rows(path)
    told = data.draw(st.permutations(news)) + data.draw(st.lists(st.sampled_from(news)))
    row: Row | None = None
    for each in told:
        row = machine.join(row, each)
    assert row == news[-1]


@given(PATHS, st.data())
def test_what_is_known_already_changes_nothing(
    path: list[tuple[str, Message] | machine.End], data: st.DataObject
) -> None:
    news = rows(path)
    position = data.draw(st.integers(0, len(news) - 1))
    late = data.draw(st.integers(0, position))
    assert machine.join(news[position], news[late]) is news[position]


def parked_at(topic: str, message: Message) -> Row:
    letter = DeadLetter(1, topic, 0, 0, "authorizer", "authorize", "Permanent", "gone", 5, at(1), at(2), message.id)
    row = machine.row_parked(ONBOARDING, Parked(letter, message, b""))
    assert row is not None
    return row


def test_a_parked_saga_says_so_and_goes_on_when_it_is_redriven() -> None:
    topic, message = journey()[1]  # type: ignore[misc]
    waiting = machine.row_waiting_for(ONBOARDING, topic, message, at(1))
    parked = machine.join(waiting, parked_at(topic, message))
    assert (parked.state, parked.reason) == ("parked", "gone")
    again = machine.row_waiting_for(ONBOARDING, topic, replace(message, attempt=2), at(3))
    assert machine.join(parked, again).state == "running"


def test_a_dead_letter_that_comes_late_does_not_stop_a_saga_that_went_on() -> None:
    path = journey()
    further = machine.row_waiting_for(ONBOARDING, *path[2], at(2))  # type: ignore[misc]
    assert machine.join(further, parked_at(*path[1])) is further  # type: ignore[misc]


def signal(kind: str, second: float) -> Signal:
    return Signal(1, "ada", "onboarding", kind, "authorize", "authorizer", at(second))  # type: ignore[arg-type]


def test_overdue_is_a_mark_that_stays_and_changes_no_state() -> None:
    row = machine.mark_signal(rows(journey())[1], signal("overdue", 1))
    assert (row.state, row.overdue) == ("running", True)
    assert machine.join(row, rows(journey())[-1]).overdue


def test_the_latest_signal_counts_and_an_older_one_changes_nothing() -> None:
    row = machine.mark_signal(rows(journey())[1], signal("failed", 5))
    assert machine.mark_signal(row, signal("failed", 4)) is row


def test_a_signal_about_a_saga_that_has_ended_changes_nothing() -> None:
    row = rows(journey())[-1]
    assert machine.mark_signal(row, signal("failed", 99)) is row


def test_a_request_is_late_only_when_what_follows_it_has_been_answered() -> None:
    path, news = journey(), rows(journey())
    first = path[0][1]  # type: ignore[index]
    assert not machine.is_past(news[1], first), "the row may have been written and the message not sent"
    assert machine.is_past(news[2], first)
    assert machine.is_past(news[-1], first)


def order(kind: str, attempt: int = 2, **other: Any) -> Signal:
    """What an operator wants."""
    return Signal(1, "ada", "onboarding", kind, "authorize", "authorizer", at(50), attempt, by="ana", **other)  # type: ignore[arg-type]


def stuck_at(topic: str) -> Row:
    """Ada's saga, waiting for somebody."""
    message = dict(stop for stop in journey() if isinstance(stop, tuple))[topic]
    step = ONBOARDING.on(topic)
    assert step is not None
    letter = DeadLetter(1, topic, 0, 1, step.service, step.name, "Permanent", "gone", 1, at(9), at(9), "ada")
    row = machine.row_parked(ONBOARDING, Parked(letter, message, b""))
    assert row is not None
    return row


def led(row: Row, signal: Signal) -> machine.OperatorDecision:
    """What the operator's signal leads to; it must."""
    turn = machine.apply_operator_signal(ONBOARDING, row, signal)
    assert turn is not None
    assert turn.onward is not None
    return machine.OperatorDecision(machine.join(row, turn.row), turn.onward)


def test_a_parked_saga_is_redriven_once_however_often_it_is_asked_for() -> None:
    turn = led(stuck_at("authorize"), order("redriven"))
    assert (turn.row.state, turn.row.attempt) == ("running", 2)
    assert (turn.onward.topic, turn.onward.message.attempt) == ("authorize", 2)  # type: ignore[union-attr]
    assert machine.apply_operator_signal(ONBOARDING, turn.row, replace(order("redriven"), at=at(51))) is None


def test_an_operators_signal_that_is_delivered_again_sends_the_same_again() -> None:
    for kind in ("redriven", "cancelled"):
        turn = led(stuck_at("authorize"), order(kind))
        again = led(turn.row, order(kind))
        assert encode(again.onward.message) == encode(turn.onward.message)  # type: ignore[union-attr]
        assert again.row == turn.row


def test_redrives_that_come_before_their_dead_letters_wait_for_them_step_by_step() -> None:
    row = machine.row_waiting_for(ONBOARDING, *journey()[1], at(1))  # type: ignore[misc]
    for attempt in (2, 3, 2):
        for step in ("notify", "authorize"):
            row = machine.mark_signal(row, replace(order("redriven", attempt), step=step))
    for topic in ("authorize", "notify"):
        row = machine.join(row, stuck_at(topic))
        early = machine.awaited_redrive(row)
        assert early is not None
        assert (early.step, early.attempt) == (row.step, 3)


@pytest.mark.parametrize("topic", ["new-user", "authorize", "notify", "notified"])
def test_a_rollback_undoes_whatever_may_have_been_done_newest_first(topic: str) -> None:
    turn = led(stuck_at(topic), order("cancelled"))
    assert turn.onward is not None
    slip = turn.onward.message.slip
    assert slip is not None
    assert [turn.onward.topic, *slip.ahead] == ["retract", "revoke", "deprovision"]
    assert (turn.row.state, turn.row.reason) == ("rolling-back", "cancelled by ana")


def test_a_saga_that_was_turned_round_takes_no_notice_of_what_still_goes_forward() -> None:
    turn = led(rows(journey())[1], order("cancelled"))
    late = journey()[3]
    assert machine.is_past(turn.row, late[1])  # type: ignore[index]
    assert machine.join(turn.row, machine.row_waiting_for(ONBOARDING, *late, at(60))) is turn.row  # type: ignore[misc]


def test_a_saga_that_has_ended_is_neither_redriven_nor_rolled_back() -> None:
    for kind in ("redriven", "cancelled"):
        assert machine.apply_operator_signal(ONBOARDING, rows(journey())[-1], order(kind)) is None


def test_a_turned_saga_ends_rolled_back_when_all_undos_are_done() -> None:
    onward: machine.Next | machine.End | None = led(stuck_at("notify"), order("cancelled")).onward
    while isinstance(onward, machine.Next):
        step = ONBOARDING.on(onward.topic)
        assert step is not None
        onward = machine.next_after(onward.message, step, machine.answer_of(step, Done(), 1, at(60), at(60), at(61)))
    assert isinstance(onward, machine.End)
    assert onward.state == "rolled-back"


def test_a_missed_deadline_is_a_mark_that_stays() -> None:
    row = machine.mark_signal(rows(journey())[1], order("overdue", 1, due_at=at(40)))
    assert (row.overdue, row.due_at, row.state) == (True, at(40), "running")
    assert machine.join(row, rows(journey())[-1]).due_at == at(40)


def test_a_rollback_without_a_no_in_its_history_ends_nevertheless() -> None:
    message = replace(requested(), slip=Slip([], [], undoing=True), history=[])
    step = ONBOARDING.on("deprovision")
    assert step is not None
    after = machine.next_after(message, step, machine.answer_of(step, Done(), 1, at(0), at(0), at(1)))
    assert isinstance(after, machine.End)
    assert after.state == "rolled-back"


def unreadable(topic: str, step: str) -> Parked:
    """A dead letter that names Ada's saga, and whose message cannot be read."""
    return Parked(DeadLetter(1, topic, 3, 14, "s", step, "BadMessage", "not JSON", 1, at(9), at(9), "ada"), None, b"")


@pytest.mark.field(3)
@pytest.mark.parametrize(
    ("topic", "step"), [("authorize", "authorize"), ("notify", "notify"), ("notified", "complete")]
)
def test_a_saga_is_parked_by_a_request_of_it_that_cannot_be_read(topic: str, step: str) -> None:
    waits = machine.row_waiting_for(ONBOARDING, "authorize", journey()[1][1], at(1))  # type: ignore[index]
    news = machine.row_parked(ONBOARDING, unreadable(topic, step), waits)
    assert news is not None
    row = machine.join(waits, news)
    assert (row.state, row.step, row.reason, row.updated_at) == ("parked", "authorize", "not JSON", at(9))
    redriven = Signal(1, "ada", "onboarding", "redriven", "authorize", "authorizer", at(20), row.attempt + 1)
    turn = machine.apply_operator_signal(ONBOARDING, row, redriven)
    assert turn is not None
    assert turn.onward is not None
    assert (turn.onward.topic, turn.onward.message.facts) == ("authorize", {"device_id": "LT-1"})
    cancelled = replace(redriven, kind="cancelled", attempt=row.attempt)
    assert (machine.apply_operator_signal(ONBOARDING, row, cancelled) or turn).row.state == "rolling-back"


def test_what_cannot_be_read_parks_no_saga_that_it_does_not_concern() -> None:
    waits = machine.row_waiting_for(ONBOARDING, "notify", journey()[2][1], at(1))  # type: ignore[index]
    assert machine.row_parked(ONBOARDING, unreadable("new-user", "provision"), waits) is None
    assert machine.row_parked(ONBOARDING, unreadable("authorize", "authorize"), waits) is None
    assert machine.row_parked(ONBOARDING, unreadable("notify", "notify"), replace(waits, state="completed")) is None
    assert machine.row_parked(ONBOARDING, unreadable("notify", "notify")) is None
