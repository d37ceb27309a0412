"""One saga's story from its records, and the sentence that says why it is where it is."""

import random
from dataclasses import replace

import pytest

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga import machine
from saga_app.saga.messages import DLQ, SIGNALS, DeadLetter, Parked, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Outcome
from saga_app.saga.timeline import Record, story, why
from tests.builders import NO, at, journey


def records(outcomes: dict[str, Outcome] | None = None) -> list[Record]:
    """What stands on the topics when a saga has ended."""
    found = []
    for n, stop in enumerate(journey(outcomes)):
        if isinstance(stop, machine.End):
            found.append(Record(ROWS_CHANGELOG, 5, 90, at(n), machine.row_ended(stop, at(n))))
        else:
            found.append(Record(stop[0], 5, 10 + n, at(n), stop[1]))
    return found


def told(found: list[Record]) -> list[tuple[str, str]]:
    return [(entry.step, entry.kind) for entry in story(ONBOARDING, found)]


COMPLETE = [
    ("provision", "requested"),
    ("provision", "done"),
    ("authorize", "requested"),
    ("authorize", "done"),
    ("notify", "requested"),
    ("notify", "done"),
    ("complete", "requested"),
    ("complete", "completed"),
]


def test_a_complete_saga_is_told_in_order_with_topic_partition_and_offset() -> None:
    entries = story(ONBOARDING, records())
    assert [(entry.step, entry.kind) for entry in entries] == COMPLETE
    assert [(entry.topic, entry.partition, entry.offset) for entry in entries][:3] == [
        ("new-user", 5, 10),
        ("authorize", 5, 11),
        ("authorize", 5, 11),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_order_in_which_the_topics_were_read_does_not_matter_nor_what_came_twice(seed: int) -> None:
    found = records()
    twice = [
        *found,
        *(replace(record, offset=record.offset + 50) for record in found if record.topic != ROWS_CHANGELOG),
    ]
    random.Random(seed).shuffle(twice)
    assert told(twice) == COMPLETE


def test_a_saga_that_was_turned_round_tells_the_way_back() -> None:
    assert told(records({"authorize": NO}))[3:] == [
        ("authorize", "denied"),
        ("deprovision", "requested"),
        ("deprovision", "done"),
        ("deprovision", "rolled-back"),
    ]


def test_a_user_who_gets_no_device_is_told_so_before_the_end() -> None:
    assert told(records({"provision": NO}))[1:] == [("provision", "denied"), ("provision", "rolled-back")]


def test_the_last_undo_that_fails_for_good_is_told_by_a_line_of_its_own() -> None:
    assert told(records({"authorize": NO, "deprovision": NO}))[-2:] == [
        ("deprovision", "denied"),
        ("deprovision", "rollback-incomplete"),
    ]


def test_a_failed_attempt_stands_between_the_request_and_its_answer() -> None:
    signal = Signal(1, "ada", "onboarding", "failed", "authorize", "authorizer", at(1.5), 1, 5, at(2), "timed out")
    found = [Record(SIGNALS, 5, 0, at(1.5), signal), *records()]
    assert told(found)[:4] == [*COMPLETE[:3], ("authorize", "failed")]


def test_a_parked_saga_ends_its_story_with_the_dead_letter_and_where_it_came_from() -> None:
    found = records()[:2]
    message = found[1].body
    letter = DeadLetter(1, "authorize", 5, 11, "authorizer", "authorize", "Permanent", "gone", 1, at(1), at(3), "ada")
    entries = story(ONBOARDING, [*found, Record(DLQ, 5, 0, at(3), Parked(letter, message, b""))])  # type: ignore[arg-type]
    assert entries[-1].kind == "parked"
    assert entries[-1].data["from"] == "authorize[5]@11"


def test_the_sentence_says_what_a_running_saga_waits_for_and_for_how_long() -> None:
    row = machine.row_waiting_for(ONBOARDING, *journey()[1], at(1))  # type: ignore[misc]
    assert why(ONBOARDING, row, at(3.5)) == "waits for the Authorizer to authorize, for 2.5 s"


def test_the_sentence_says_when_the_next_attempt_is_and_how_many_are_left() -> None:
    row = machine.row_waiting_for(ONBOARDING, *journey()[1], at(1))  # type: ignore[misc]
    signal = Signal(
        1, "ada", "onboarding", "failed", "authorize", "authorizer", at(2), 2, 5, at(10), "policy service timed out"
    )
    assert why(ONBOARDING, machine.mark_signal(row, signal), at(2)) == (
        f"retrying: attempt 2 of 5 by the Authorizer failed: policy service timed out; next in 8 s, at {at(10)}"
    )


@pytest.mark.parametrize(
    ("next_at", "says"), [(2 + 300, "next in 5 min"), (2 + 5400, "next in 1 h 30 min"), (-58, "next due 60 s ago")]
)
def test_a_step_that_the_provisioner_does_not_hear_of_is_shown_as_retrying(next_at: float, says: str) -> None:
    row = machine.row_waiting_for(ONBOARDING, *journey()[1], at(1))  # type: ignore[misc]
    signal = Signal(
        1, "ada", "onboarding", "failed", "notify", "notifier", at(1.5), 6, 15, at(next_at), "451 greylisted"
    )
    sentence = why(ONBOARDING, machine.mark_signal(row, signal), at(2))
    assert sentence.startswith("retrying: attempt 6 of 15 by the Notifier failed: 451 greylisted; ")
    assert says in sentence


def test_an_attempt_that_is_planned_of_a_step_that_was_cancelled_is_not_shown() -> None:
    row = machine.row_waiting_for(ONBOARDING, *journey()[1], at(1))  # type: ignore[misc]
    signal = Signal(1, "ada", "onboarding", "failed", "notify", "notifier", at(2), 6, 15, at(900), "451 greylisted")
    order = Signal(1, "ada", "onboarding", "cancelled", "authorize", "provisioner", at(5), by="ana")
    turn = machine.apply_operator_signal(ONBOARDING, machine.mark_signal(row, signal), order)
    assert turn is not None
    cancelled = machine.join(machine.mark_signal(row, signal), turn.row)
    assert why(ONBOARDING, cancelled, at(6)).startswith("rolling back (cancelled by ana), waits for the Notifier")


def test_the_sentence_says_how_it_ended() -> None:
    ends = [journey()[-1], journey({"authorize": NO})[-1]]
    rows = [machine.row_ended(end, at(3.9)) for end in ends if isinstance(end, machine.End)]
    assert why(ONBOARDING, rows[0], at(9)) == "completed in 3.9 s"
    assert why(ONBOARDING, rows[1], at(9)) == "rolled back: no policy for the department"
