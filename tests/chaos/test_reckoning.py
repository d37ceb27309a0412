"""The count must see what is wrong: a scoreboard that cannot fail proves nothing."""

from dataclasses import replace
from typing import Any

from saga_app.saga.messages import Row, User, Visit
from saga_app.saga.times import iso
from tests.chaos.fault_log import Fault
from tests.chaos.mailbox import Copy, message_id
from tests.chaos.verdict import Evidence, Verdict, by_chance, explanation, judge

NOW = 1_800_000_000.0


def row(state: str, **more: Any) -> Row:
    ended = state in ("completed", "rolled-back", "rollback-incomplete")
    given: dict[str, Any] = {
        "v": 1,
        "id": "ana",
        "saga": "onboarding",
        "user": User("Ana", "ana@example.com", "Sales"),
        "state": state,
        "step": "notify",
        "attempt": 1,
        "started_at": iso(NOW - 100),
        "updated_at": iso(NOW - 99),
        "ended_at": iso(NOW - 98) if ended else None,
    }
    return Row(**(given | more))


def count(*versions: Row, mails: tuple[str, ...] = ("notify",), **more: Any) -> Verdict:
    evidence = Evidence(
        accepted={"ana": NOW - 100},
        versions={"ana": versions} if versions else {},
        copies={message_id("ana", step): [Copy(NOW - 98, False)] for step in mails},
        garbage=frozenset(),
        letters=frozenset(),
        entries=[],
        deadline_s=20.0,
        over_at=NOW,
    )
    return judge(replace(evidence, **more))


def test_a_saga_that_ends_once_with_one_mail_is_as_it_should_be() -> None:
    assert count(row("running"), row("completed")) == Verdict(states={"completed": 1})


def test_a_user_who_was_accepted_and_never_ends_is_lost() -> None:
    assert count().lost == ["ana"]
    assert count(row("running")).lost == ["ana"]


def test_two_endings_or_one_that_is_taken_back_are_seen() -> None:
    assert count(row("completed"), row("rolled-back")).ended_twice == ["ana"]
    assert count(row("completed"), row("completed", ended_at=iso(NOW))).ended_twice == ["ana"]
    assert count(row("completed"), row("running")).ended_twice == ["ana"]
    assert count(row("completed"), row("completed")).ended_twice == []


def test_a_late_saga_of_which_nothing_was_said_is_stuck_unflagged() -> None:
    assert count(row("running")).unflagged == ["ana"]
    assert count(row("running"), row("running", overdue=True)).unflagged == []
    assert count(row("running"), row("parked")).unflagged == []
    assert count(row("running"), row("completed")).unflagged == []


def test_a_user_is_told_once_what_is_true_in_the_end() -> None:
    assert count(row("completed"), mails=()).never_mailed == ["ana"]
    assert count(row("rolled-back"), mails=("notify",)).never_told == ["ana"]
    assert count(row("rolled-back"), mails=()).never_told == []
    assert count(row("completed"), mails=("notify", "retract")).told_wrong == ["ana"]
    late = {message_id("ana", "notify"): [Copy(NOW, False)], message_id("ana", "retract"): [Copy(NOW - 1, False)]}
    assert count(row("rolled-back"), copies=late).told_wrong == ["ana"]
    woken = count(row("rolled-back"), copies=late, entries=[entry("freeze", "notifier-1", -20, -0.1)])
    assert (woken.told_wrong, list(woken.told_late)) == ([], ["ana"])


def test_a_follow_up_that_could_not_be_sent_stands_in_the_row() -> None:
    line = Visit("retract", "notifier", 8, iso(NOW), iso(NOW), iso(NOW), "denied", "no")
    assert count(row("rollback-incomplete", history=[line])).never_told == []


def test_garbage_without_a_dead_letter_and_sagas_of_nobody_are_named() -> None:
    places = frozenset({("authorize", 3, 42), ("notify", 0, 1)})
    found = count(row("completed"), garbage=places, letters=frozenset({("notify", 0, 1)}), accepted={})
    assert found.garbage_lost == [("authorize", 3, 42)]
    assert found.unasked == ["ana"]


def why(first: float, second: float, *entries: Fault, unanswered: bool = False) -> str | None:
    return explanation(Copy(NOW + first, unanswered), Copy(NOW + second, False), entries)


def entry(kind: str, who: str, at: float, until: float | None = None) -> Fault:
    return Fault(NOW + at, NOW + (at if until is None else until), kind, who)


def test_a_second_mail_is_explained_by_what_happened_to_its_sender_and_by_nothing_else() -> None:
    assert why(0, 3, entry("kill", "notifier-1", 0.5)) == "kill of notifier-1 before the note of it was acknowledged"
    assert why(0, 3, entry("kill", "provisioner-1", 0.5)) is None
    assert why(0, 30, entry("kill", "notifier-1", 20)) is None, "its note was acknowledged long ago"
    assert why(0, 2, entry("kill", "notifier-1", 2.5)) is None, "not what comes after it"
    assert why(0, 3) is None
    assert why(0, 3, unanswered=True) == "the answer to the first was lost"


def test_a_sleeper_who_wakes_and_an_outage_explain_it_too() -> None:
    sleep = entry("freeze", "notifier-2", 0, 25)
    assert "woke up" in str(why(12, 26, sleep))
    assert "went on without" in str(why(11, 13, sleep))
    assert why(60, 61, sleep) is None
    assert "not acknowledged" in str(why(2, 20, entry("broker-kill", "broker", 3, 12)))


def test_it_is_said_how_much_an_explanation_is_worth() -> None:
    assert by_chance([]) == 0
    assert by_chance([entry("kill", "authorizer-1", n) for n in range(10)]) == 0
    kills = [entry("kill", "notifier-1", n * 50.0) for n in range(10)]
    assert 0.01 < by_chance(kills) < 0.15
