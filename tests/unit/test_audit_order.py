"""The auditor finds missing predecessors, incomplete rollbacks, and dead letters that no row knows."""

from collections.abc import Callable

import pytest

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.codec import decode, replace_fields
from saga_app.saga.messages import DLQ, Message, Row, Slip
from tests.builders import at, requested
from tests.unit.audit_topics import (
    cancelled_after_mail,
    completed,
    parked_at_authorize,
    rolled_back,
    rolled_back_incompletely,
    visit,
)

# -- a step without its predecessor


@pytest.mark.parametrize("topic", ["new-user", "authorize", "notify"])
def test_a_missing_request_is_found_from_the_next_one(topic: str) -> None:
    topics = completed()
    topics.remove(topic)
    assert f"but {topic} has no request for" in topics.findings()["no-predecessor"]


def test_a_skipped_step_is_found() -> None:
    topics = completed()
    topics.change(Message, "notify", lambda m: replace_fields(m, history=m.history[:1]))
    assert topics.findings()["no-predecessor"].startswith("request to notify without authorize done")


def test_a_compensation_before_that_of_a_newer_step_is_found() -> None:
    topics = rolled_back()
    topics.change(Message, "deprovision", lambda m: replace_fields(m, history=m.history[:-1]))
    assert topics.findings()["no-predecessor"].startswith("request to deprovision without revoke before it")


def test_a_compensation_without_a_denial_or_cancellation_is_found() -> None:
    topics = completed()
    slip = Slip([], [], undoing=True)
    topics.append(
        "revoke", "ada", replace_fields(requested(), slip=slip, history=[visit("provision"), visit("authorize")])
    )
    assert "request to revoke without a denial or cancellation" in topics.findings()["no-predecessor"]


# -- rollbacks


def without(step: str) -> Callable[[Message | Row], Message | Row]:
    """A function that removes a step from the history of a message or row."""
    return lambda body: replace_fields(body, history=[line for line in body.history if line.step != step])


@pytest.mark.parametrize(("compensation", "step"), [("revoke", "authorize"), ("deprovision", "provision")])
def test_a_missing_compensation_is_found(compensation: str, step: str) -> None:
    topics = rolled_back()
    topics.remove(compensation)
    topics.change_all(without(compensation))
    assert topics.findings()["undo-missing"] == f"rolled back, but {step} was done, and {compensation} was not"


def test_a_rolled_back_saga_with_a_failed_compensation_is_found() -> None:
    topics = rolled_back_incompletely()
    topics.change(Row, ROWS_CHANGELOG, lambda row: replace_fields(row, state="rolled-back"))
    assert "revoke was not" in topics.findings()["undo-missing"]


def test_a_step_that_was_done_after_its_compensation_is_found() -> None:
    topics = rolled_back()
    late = topics.remove("notify")
    topics.change_all(without("authorize"))
    topics.elapsed_s += 60
    message = decode(Message, late.value)
    history = [replace_fields(line, started_at=at(60)) for line in message.history]
    topics.append("notify", "ada", replace_fields(message, history=history))
    assert topics.findings()["undo-missing"] == "rolled back, but authorize was done after revoke"


def test_a_mail_that_was_not_retracted_is_found() -> None:
    topics = cancelled_after_mail()
    topics.change_all(without("retract"))
    assert "notify was done, and retract was not" in topics.findings()["mail-after-rollback"]


def test_a_mail_of_which_its_compensation_did_not_know_is_found() -> None:
    topics = cancelled_after_mail()

    def retract_found_nothing(body: Message | Row) -> Message | Row:
        reasons = {"retract": "nothing to take back"}
        return replace_fields(
            body, history=[replace_fields(line, reason=reasons.get(line.step)) for line in body.history]
        )

    topics.change_all(retract_found_nothing)
    assert "retract found nothing to compensate" in topics.findings()["mail-after-rollback"]


# -- dead letters


def test_a_dead_letter_that_no_row_knows_is_found() -> None:
    topics, _ = parked_at_authorize()
    topics.remove(ROWS_CHANGELOG)
    findings = topics.findings()
    assert findings["unrecorded-dead-letter"] == (
        "authorize[0]@0 is a dead letter (Permanent at authorize), but the row is running at authorize"
    )
    assert "dead letter: Permanent at authorize" in findings["never-ended"]


def test_a_second_dead_letter_of_a_redriven_saga_needs_a_row_too() -> None:
    topics, row = parked_at_authorize()
    decision = topics.append_signal("redriven", row)
    assert decision is not None
    assert decision.onward is not None
    topics.append("authorize", "ada", decision.onward.message)
    topics.append_dead_letter("authorize", decision.onward.message)
    assert "authorize[0]@1 is a dead letter" in topics.findings()["unrecorded-dead-letter"]
    topics.park("authorize", decision.onward.message)
    assert topics.findings() == {}


def test_an_unreadable_dead_letter_is_found() -> None:
    topics = completed()
    topics.append(DLQ, "ada", b"{}")
    assert "unreadable dead letter" in topics.findings()["unrecorded-dead-letter"]
