"""The timeline of a saga, and the sentence that explains its state."""

import random
from dataclasses import replace

import pytest

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga import decisions, operator_signals, saga_row
from saga_app.saga.messages import DLQ, SIGNALS, DeadLetter, Parked, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Outcome
from saga_app.saga.timeline import DecodedRecord, story, why
from saga_app.saga.times import iso
from tests.builders import NO, at, end_of_journey, journey, request_to, waiting_row


def records(outcomes: dict[str, Outcome] | None = None) -> list[DecodedRecord]:
    """The records on the topics after a saga has ended."""
    found = []
    for n, stop in enumerate(journey(outcomes)):
        if isinstance(stop, decisions.End):
            found.append(DecodedRecord(ROWS_CHANGELOG, 5, 90, at(n), saga_row.row_ended(stop, at(n))))
        else:
            found.append(DecodedRecord(stop[0], 5, 10 + n, at(n), stop[1]))
    return found


def steps_and_kinds(found: list[DecodedRecord]) -> list[tuple[str, str]]:
    """Step and kind of each entry of the timeline."""
    return [(entry.step, entry.kind) for entry in story(ONBOARDING, found)]


COMPLETE_TIMELINE = [
    ("provision", "requested"),
    ("provision", "done"),
    ("authorize", "requested"),
    ("authorize", "done"),
    ("notify", "requested"),
    ("notify", "done"),
    ("complete", "requested"),
    ("complete", "completed"),
]


def test_the_timeline_is_in_order_with_topic_partition_and_offset() -> None:
    entries = story(ONBOARDING, records())
    assert [(entry.step, entry.kind) for entry in entries] == COMPLETE_TIMELINE
    assert [(entry.topic, entry.partition, entry.offset) for entry in entries][:3] == [
        ("new-user", 5, 10),
        ("authorize", 5, 11),
        ("authorize", 5, 11),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_timeline_is_independent_of_read_order_and_duplicates(seed: int) -> None:
    found = records()
    duplicated = [
        *found,
        *(replace(record, offset=record.offset + 50) for record in found if record.topic != ROWS_CHANGELOG),
    ]
    random.Random(seed).shuffle(duplicated)
    assert steps_and_kinds(duplicated) == COMPLETE_TIMELINE


def test_the_timeline_of_a_denied_saga_shows_its_compensations() -> None:
    assert steps_and_kinds(records({"authorize": NO}))[3:] == [
        ("authorize", "denied"),
        ("deprovision", "requested"),
        ("deprovision", "done"),
        ("deprovision", "rolled-back"),
    ]


def test_a_denial_of_the_first_step_precedes_the_end() -> None:
    assert steps_and_kinds(records({"provision": NO}))[1:] == [("provision", "denied"), ("provision", "rolled-back")]


def test_a_failed_last_compensation_has_an_entry_of_its_own() -> None:
    assert steps_and_kinds(records({"authorize": NO, "deprovision": NO}))[-2:] == [
        ("deprovision", "denied"),
        ("deprovision", "rollback-incomplete"),
    ]


def test_a_failed_attempt_is_between_the_request_and_its_result() -> None:
    signal = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="failed",
        step="authorize",
        service="authorizer",
        at=at(1.5),
        attempt=1,
        attempts=5,
        next_at=at(2),
        reason="timed out",
    )
    found = [DecodedRecord(SIGNALS, 5, 0, at(1.5), signal), *records()]
    assert steps_and_kinds(found)[:4] == [*COMPLETE_TIMELINE[:3], ("authorize", "failed")]


def test_the_last_entry_of_a_parked_saga_names_the_original_record() -> None:
    found = records()[:2]
    letter = DeadLetter(
        v=1,
        topic="authorize",
        partition=5,
        offset=11,
        service="authorizer",
        step="authorize",
        error="Permanent",
        reason="gone",
        attempts=1,
        received_at=at(1),
        at=at(3),
        id="ada",
    )
    entries = story(ONBOARDING, [*found, DecodedRecord(DLQ, 5, 0, at(3), Parked(letter, request_to("authorize"), b""))])
    assert entries[-1].kind == "parked"
    assert entries[-1].data["from"] == "authorize[5]@11"


def test_a_running_saga_is_explained_by_what_it_waits_for() -> None:
    row = waiting_row("authorize")
    assert why(ONBOARDING, row, at(3.5)) == "waits for the Authorizer to authorize, for 2.5 s"


def test_a_retrying_saga_is_explained_by_its_next_attempt() -> None:
    row = waiting_row("authorize")
    signal = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="failed",
        step="authorize",
        service="authorizer",
        at=at(2),
        attempt=2,
        attempts=5,
        next_at=at(10),
        reason="policy service timed out",
    )
    assert why(ONBOARDING, operator_signals.mark_signal(row, signal), at(2)) == (
        f"retrying: attempt 2 of 5 by the Authorizer failed: policy service timed out; next in 8 s, at {iso(at(10))}"
    )


@pytest.mark.parametrize(
    ("next_at", "expected"), [(2 + 300, "next in 5 min"), (2 + 5400, "next in 1 h 30 min"), (-58, "next due 60 s ago")]
)
def test_retries_of_a_step_unknown_to_the_provisioner_are_explained(next_at: float, expected: str) -> None:
    row = waiting_row("authorize")
    signal = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="failed",
        step="notify",
        service="notifier",
        at=at(1.5),
        attempt=6,
        attempts=15,
        next_at=at(next_at),
        reason="451 greylisted",
    )
    sentence = why(ONBOARDING, operator_signals.mark_signal(row, signal), at(2))
    assert sentence.startswith("retrying: attempt 6 of 15 by the Notifier failed: 451 greylisted; ")
    assert expected in sentence


def test_a_planned_attempt_of_a_cancelled_step_is_not_shown() -> None:
    row = waiting_row("authorize")
    signal = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="failed",
        step="notify",
        service="notifier",
        at=at(2),
        attempt=6,
        attempts=15,
        next_at=at(900),
        reason="451 greylisted",
    )
    cancel_signal = Signal(
        v=1, id="ada", saga="onboarding", kind="cancelled", step="authorize", service="provisioner", at=at(5), by="ana"
    )
    decision = operator_signals.apply_operator_signal(
        ONBOARDING, operator_signals.mark_signal(row, signal), cancel_signal
    )
    assert decision is not None
    cancelled = saga_row.join(operator_signals.mark_signal(row, signal), decision.row)
    assert why(ONBOARDING, cancelled, at(6)).startswith("rolling back (cancelled by ana), waits for the Notifier")


def test_an_ended_saga_is_explained_by_its_result() -> None:
    completed = saga_row.row_ended(end_of_journey(), at(3.9))
    assert why(ONBOARDING, completed, at(9)) == "completed in 3.9 s"
    rolled_back = saga_row.row_ended(end_of_journey({"authorize": NO}), at(3.9))
    assert why(ONBOARDING, rolled_back, at(9)) == "rolled back: no policy for the department"
