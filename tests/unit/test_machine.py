"""What follows what: the way there, the way back, and a row that is the same in whatever order the news comes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import machine
from saga_app.saga.messages import BadMessage, DeadLetter, Message, Parked, Row, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.steps import Denied
from tests.unit.makers import ADA, NO, at, journey, requested, topics


def rows(path: list[tuple[str, Message] | machine.End]) -> list[Row]:
    """The news that each stop of a saga is."""
    return [
        machine.ended(stop, at(n)) if isinstance(stop, machine.End) else machine.asked(ONBOARDING, *stop, at(n))
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
    done = machine.visit(step, machine.Done(), 1, at(0), at(0), at(1))
    after = machine.following(request, step, machine.Done(), done)
    assert isinstance(after, machine.Next)
    assert after.topic == "notified"


def test_a_client_cannot_write_the_slip_or_the_facts() -> None:
    forged = Message(v=1, id="x", user=ADA, slip=machine.Slip(["dlq"], []), facts={"device_id": "mine"})
    begun = machine.first(ONBOARDING, forged, at(0))
    assert begun.slip == ONBOARDING.slip()
    assert begun.facts == {}


def test_a_saga_that_began_in_the_future_is_not_believed() -> None:
    message = replace(journey()[1][1], started_at="9999-12-31T23:59:59.999Z")  # type: ignore[index]
    with pytest.raises(BadMessage, match="in the future"):
        machine.admit(ONBOARDING, "authorize", message, at(0))


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
        row = machine.apply(row, each)
    assert row == news[-1]


@given(PATHS, st.data())
def test_what_is_known_already_changes_nothing(
    path: list[tuple[str, Message] | machine.End], data: st.DataObject
) -> None:
    news = rows(path)
    position = data.draw(st.integers(0, len(news) - 1))
    late = data.draw(st.integers(0, position))
    assert machine.apply(news[position], news[late]) is news[position]


def parked_at(topic: str, message: Message) -> Row:
    letter = DeadLetter(1, topic, 0, 0, "authorizer", "authorize", "Permanent", "gone", 5, at(1), at(2), message.id)
    row = machine.parked(ONBOARDING, Parked(letter, message, b""))
    assert row is not None
    return row


def test_a_parked_saga_says_so_and_goes_on_when_it_is_redriven() -> None:
    topic, message = journey()[1]  # type: ignore[misc]
    waiting = machine.asked(ONBOARDING, topic, message, at(1))
    parked = machine.apply(waiting, parked_at(topic, message))
    assert (parked.state, parked.reason) == ("parked", "gone")
    again = machine.asked(ONBOARDING, topic, replace(message, attempt=2), at(3))
    assert machine.apply(parked, again).state == "running"


def test_a_dead_letter_that_comes_late_does_not_stop_a_saga_that_went_on() -> None:
    path = journey()
    further = machine.asked(ONBOARDING, *path[2], at(2))  # type: ignore[misc]
    assert machine.apply(further, parked_at(*path[1])) is further  # type: ignore[misc]


def signal(kind: str, second: float) -> Signal:
    return Signal(1, "ada", "onboarding", kind, "authorize", "authorizer", at(second))  # type: ignore[arg-type]


def test_overdue_is_a_mark_that_stays_and_changes_no_state() -> None:
    row = machine.mark(rows(journey())[1], signal("overdue", 1))
    assert (row.state, row.overdue) == ("running", True)
    assert machine.apply(row, rows(journey())[-1]).overdue


def test_the_latest_signal_counts_and_an_older_one_changes_nothing() -> None:
    row = machine.mark(rows(journey())[1], signal("failed", 5))
    assert machine.mark(row, signal("failed", 4)) is row


def test_a_signal_about_a_saga_that_has_ended_changes_nothing() -> None:
    row = rows(journey())[-1]
    assert machine.mark(row, signal("failed", 99)) is row


def test_a_request_is_late_only_when_what_follows_it_has_been_answered() -> None:
    path, news = journey(), rows(journey())
    first = path[0][1]  # type: ignore[index]
    assert not machine.passed(news[1], first), "the row may have been written and the message not sent"
    assert machine.passed(news[2], first)
    assert machine.passed(news[-1], first)
