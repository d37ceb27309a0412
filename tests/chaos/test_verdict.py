"""The verdict on a run finds each kind of problem, and explains repeated mails only by faults that can cause them."""

from dataclasses import replace
from typing import Any

from saga_app.saga.messages import Row, User, Visit
from saga_app.saga.times import utc
from tests.chaos.fault_log import Fault
from tests.chaos.mailbox import Copy, message_id
from tests.chaos.verdict import Evidence, Verdict, chance_of_explanation, judge, reason_for_repeat

#: Seconds since 1970.
NOW = 1_800_000_000.0


def row(state: str, **fields: Any) -> Row:
    """The row of the saga `ana`, which started 100 seconds ago."""
    ended = state in ("completed", "rolled-back", "rollback-incomplete")
    defaults: dict[str, Any] = {
        "v": 1,
        "id": "ana",
        "saga": "onboarding",
        "user": User("Ana", "ana@example.com", "Sales"),
        "state": state,
        "step": "notify",
        "attempt": 1,
        "started_at": utc(NOW - 100),
        "updated_at": utc(NOW - 99),
        "ended_at": utc(NOW - 98) if ended else None,
    }
    return Row(**(defaults | fields))


def verdict_on(*versions: Row, mails: tuple[str, ...] = ("notify",), **changes: Any) -> Verdict:
    """The verdict on the saga `ana` with these rows, and one mail of each of these steps."""
    evidence = Evidence(
        accepted={"ana": NOW - 100},
        versions={"ana": versions} if versions else {},
        copies={message_id("ana", step): [Copy(NOW - 98, reply_lost=False)] for step in mails},
        garbage=frozenset(),
        dead_letters=frozenset(),
        faults=[],
        deadline_s=20.0,
        checked_at=NOW,
    )
    return judge(replace(evidence, **changes))


def fault(kind: str, target: str, began_at: float, ended_at: float | None = None) -> Fault:
    """A fault; times are seconds relative to `NOW`."""
    return Fault(NOW + began_at, NOW + (began_at if ended_at is None else ended_at), kind, target)


def reason(first: float, second: float, *faults: Fault, reply_lost: bool = False) -> str | None:
    """The reason for two copies of a mail, sent at these seconds relative to `NOW`."""
    return reason_for_repeat(Copy(NOW + first, reply_lost), Copy(NOW + second, reply_lost=False), faults)


def test_a_completed_saga_with_one_mail_has_no_problem() -> None:
    assert verdict_on(row("running"), row("completed")) == Verdict(states={"completed": 1})


def test_an_accepted_user_whose_saga_does_not_end_is_lost() -> None:
    assert verdict_on().lost == ["ana"]
    assert verdict_on(row("running")).lost == ["ana"]


def test_a_saga_that_ends_twice_or_continues_after_its_end_is_found() -> None:
    assert verdict_on(row("completed"), row("rolled-back")).ended_twice == ["ana"]
    assert verdict_on(row("completed"), row("completed", ended_at=utc(NOW))).ended_twice == ["ana"]
    assert verdict_on(row("completed"), row("running")).ended_twice == ["ana"]
    assert verdict_on(row("completed"), row("completed")).ended_twice == []


def test_a_late_saga_without_a_flag_is_found() -> None:
    assert verdict_on(row("running")).unflagged == ["ana"]
    assert verdict_on(row("running"), row("running", overdue=True)).unflagged == []
    assert verdict_on(row("running"), row("parked")).unflagged == []
    assert verdict_on(row("running"), row("completed")).unflagged == []


def test_missing_and_wrong_last_mails_are_found() -> None:
    assert verdict_on(row("completed"), mails=()).without_welcome == ["ana"]
    assert verdict_on(row("rolled-back"), mails=("notify",)).without_follow_up == ["ana"]
    assert verdict_on(row("rolled-back"), mails=()).without_follow_up == []
    assert verdict_on(row("completed"), mails=("notify", "retract")).wrong_last_mail == ["ana"]


def test_a_welcome_after_the_follow_up_is_explained_by_a_freeze() -> None:
    copies = {
        message_id("ana", "notify"): [Copy(NOW, reply_lost=False)],
        message_id("ana", "retract"): [Copy(NOW - 1, reply_lost=False)],
    }
    assert verdict_on(row("rolled-back"), copies=copies).wrong_last_mail == ["ana"]
    explained = verdict_on(row("rolled-back"), copies=copies, faults=[fault("freeze", "notifier-1", -20, -0.1)])
    assert (explained.wrong_last_mail, list(explained.late_welcome)) == ([], ["ana"])


def test_a_failed_follow_up_in_the_history_is_not_missing() -> None:
    line = Visit(
        step="retract",
        service="notifier",
        attempts=8,
        received_at=utc(NOW),
        started_at=utc(NOW),
        ended_at=utc(NOW),
        outcome="denied",
        reason="no",
    )
    assert verdict_on(row("rollback-incomplete", history=[line])).without_follow_up == []


def test_garbage_without_a_letter_and_unrequested_sagas_are_found() -> None:
    places = frozenset({("authorize", 3, 42), ("notify", 0, 1)})
    dead_letters = frozenset({("notify", 0, 1)})
    verdict = verdict_on(row("completed"), garbage=places, dead_letters=dead_letters, accepted={})
    assert verdict.garbage_without_letter == [("authorize", 3, 42)]
    assert verdict.not_requested == ["ana"]


def test_a_kill_explains_a_repeated_mail_only_shortly_after_the_first() -> None:
    kill = fault("kill", "notifier-1", 0.5)
    assert reason(0, 3, kill) == "kill of notifier-1 before the result was acknowledged"
    assert reason(0, 3, fault("kill", "provisioner-1", 0.5)) is None
    assert reason(0, 30, fault("kill", "notifier-1", 20)) is None, "the result was acknowledged long before"
    assert reason(0, 2, fault("kill", "notifier-1", 2.5)) is None, "a fault after the second copy explains nothing"
    assert reason(0, 3) is None


def test_a_lost_reply_explains_a_repeated_mail() -> None:
    assert reason(0, 3, reply_lost=True) == "the reply to the first copy was lost"


def test_a_freeze_or_an_outage_explains_a_repeated_mail() -> None:
    freeze = fault("freeze", "notifier-2", 0, 25)
    assert "resumed its work" in str(reason(12, 26, freeze))
    assert "expelled" in str(reason(11, 13, freeze))
    assert reason(60, 61, freeze) is None
    assert "not acknowledged" in str(reason(2, 20, fault("broker-kill", "broker", 3, 12)))


def test_the_chance_of_an_explanation_grows_with_the_faults() -> None:
    assert chance_of_explanation([]) == 0
    assert chance_of_explanation([fault("kill", "authorizer-1", n) for n in range(10)]) == 0
    kills = [fault("kill", "notifier-1", n * 50.0) for n in range(10)]
    assert 0.01 < chance_of_explanation(kills) < 0.15
