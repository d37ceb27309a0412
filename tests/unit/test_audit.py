"""The auditor: of sagas that went as they must it says nothing, and of every other what does not add up."""

import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.audit import audit_records
from saga_app.audit.case import LogState
from saga_app.audit.gather import Gathering
from saga_app.audit.judge import judge
from saga_app.saga import machine
from saga_app.saga.messages import DLQ, SIGNALS, Message, Row, Signal, Slip, changed, decode, encode
from saga_app.stream import partition_of
from tests.builders import START, at, journey, requested
from tests.unit.audit_topics import (
    NO,
    SOMEBODY_ELSE,
    Topics,
    cancelled_too_late,
    completed,
    parked_at_authorize,
    refused,
    visit,
)


def redriven() -> Topics:
    """A saga that was parked, and then went on."""
    topics, row = parked_at_authorize()
    topics.turn("redriven", row)
    return topics


def denied() -> Topics:
    """A user without a policy."""
    topics = Topics()
    topics.saga(outcomes={"authorize": NO})
    return topics


def cancelled_when_parked() -> Topics:
    """Nobody wanted to wait any more."""
    topics, row = parked_at_authorize()
    topics.turn("cancelled", row)
    return topics


def incomplete() -> Topics:
    """An undo that failed for good, and says so."""
    topics = Topics()
    topics.saga(outcomes={"notify": NO, "revoke": NO})
    return topics


CLEAN = [completed, denied, refused, redriven, cancelled_when_parked, cancelled_too_late, incomplete]


@pytest.mark.parametrize("history", CLEAN)
@pytest.mark.parametrize("seed", range(5))
def test_of_a_saga_that_went_as_it_must_nothing_is_said_in_whatever_order_it_is_read(history: Any, seed: int) -> None:
    topics = history()
    random.Random(seed).shuffle(topics.records)
    assert topics.found() == {}


@pytest.mark.parametrize("history", CLEAN)
def test_everything_sent_twice_is_counted_and_nothing_is_said(history: Any) -> None:
    topics = history()
    for record in [each for each in topics.records if each.topic not in (ROWS_CHANGELOG, SIGNALS)]:
        topics.put(record.topic, "ada", record.value, record.headers)
    report = topics.audit()
    assert report.findings == []
    assert report.counts["duplicates"] >= 3


@pytest.mark.parametrize("history", CLEAN)
def test_a_compacted_changelog_is_enough(history: Any) -> None:
    topics = history()
    last = topics.records[topics.place(ROWS_CHANGELOG)]
    topics.records = [each for each in topics.records if each.topic != ROWS_CHANGELOG or each is last]
    assert topics.found() == {}


def test_the_summary_counts_what_an_operator_wants_to_know() -> None:
    topics, row = parked_at_authorize()
    topics.tell("redriven", row)
    counts = topics.audit().counts
    assert {"parked": 1, "redriven": 1, "signals_redriven": 1, "dead_letters": 1}.items() <= counts.items()
    assert redriven().audit().counts["completed"] == 1
    assert cancelled_too_late().audit().counts["cancelled"] == 1
    assert completed().audit().counts["mails"] == 1


def test_a_parked_saga_waits_for_somebody_and_is_no_finding() -> None:
    topics, _ = parked_at_authorize()
    assert topics.found() == {}


# -- started and never ended


def test_a_saga_whose_ending_was_never_noted_is_found_and_so_is_the_offset() -> None:
    topics = completed()
    topics.drop(ROWS_CHANGELOG)
    found = topics.found(now=int((START + 600) * 1000))
    assert found.keys() == {"never-ended", "unfinished"}
    assert "10 min ago" in found["never-ended"]
    assert "running, waiting for authorize" in found["never-ended"]
    assert "the request to complete without an effect" in found["unfinished"]


def test_an_overdue_saga_that_has_not_ended_is_said_to_be_overdue() -> None:
    topics = completed()
    topics.drop(ROWS_CHANGELOG)
    topics.change(Row, ROWS_CHANGELOG, lambda row: replace(row, overdue=True))
    assert "has not ended, overdue" in topics.found()["never-ended"]


def test_a_request_that_nobody_has_taken_up_has_never_ended() -> None:
    topics = Topics()
    topics.put("new-user", "ada", requested())
    report = audit_records(topics.records)
    assert [each.kind for each in report.findings] == ["never-ended"]
    assert "no row, last request to provision" in report.findings[0].sentence
    assert report.findings[0].proof == ("new-user[0]@0",)


def test_a_saga_of_which_something_was_just_heard_is_under_way_and_only_counted() -> None:
    topics = completed()
    topics.drop(ROWS_CHANGELOG)
    report = topics.audit(settle_s=60)
    assert (report.findings, report.counts["under_way"]) == ([], 1)
    assert topics.audit(settle_s=60, now=int((START + 600) * 1000)).findings


# -- ended twice


def ending(**otherwise: Any) -> Row:
    """A second one."""
    end = journey()[-1]
    assert isinstance(end, machine.End)
    return replace(machine.row_ended(end, at(99)), **otherwise)


@pytest.mark.parametrize("state", ["completed", "rolled-back", "running"])
def test_whatever_is_noted_after_the_ending_is_found(state: Any) -> None:
    topics = completed()
    topics.note(ending(state=state))
    assert f"then {state} at" in topics.found()["ended-twice"]


def test_an_ending_that_is_written_once_more_behind_an_old_row_has_mended_it() -> None:
    topics = completed()
    first, *_, last = [each for each in topics.records if each.topic == ROWS_CHANGELOG]
    topics.put(ROWS_CHANGELOG, "ada", first.value)
    assert "ended-twice" in topics.found()
    topics.put(ROWS_CHANGELOG, "ada", last.value)
    report = topics.audit()
    assert (report.findings, report.counts["mended_rows"]) == ([], 1)


# -- two devices, and a row that disagrees


def test_two_devices_are_found_and_both_are_named() -> None:
    topics = completed()
    topics.change(Message, "notify", lambda m: replace(m, facts=m.facts | {"device_id": "LT-2"}))
    assert topics.found() == {"two-devices": "the messages name LT-1 and LT-2"}


@pytest.mark.parametrize(
    ("otherwise", "says"),
    [
        ({"facts": {"device_id": "LT-9", "authorizations": ["git"]}}, "device LT-9, and the messages name LT-1"),
        ({"facts": {"device_id": "LT-1", "authorizations": ["root"]}}, "authorizations differs from the messages"),
        ({"facts": {}}, "device_id is missing"),
        ({"user": SOMEBODY_ELSE}, "the user differs from the messages"),
        ({"history": [visit("provision")]}, "the history is provision done"),
        ({"state": "rolled-back"}, "no denial or cancellation precedes the compensations"),
        ({"state": "parked"}, "there is no dead letter"),
    ],
)
def test_a_row_that_says_something_else_than_the_topics_is_found(otherwise: dict[str, Any], says: str) -> None:
    topics = completed()
    topics.change(Row, ROWS_CHANGELOG, lambda row: replace(row, **otherwise))
    assert says in topics.found()["changelog"]
    assert "Somebody Else" not in str(topics.audit()), "nothing personal in a report"


def test_a_message_with_somebody_elses_data_is_found() -> None:
    topics = completed()
    topics.change(Message, "notify", lambda message: replace(message, user=SOMEBODY_ELSE))
    assert topics.found() == {"changelog": "the row is completed, but the messages have different user data"}


def test_a_saga_that_was_on_its_way_back_and_went_forward_again_is_found() -> None:
    topics = refused()
    topics.drop(ROWS_CHANGELOG)
    topics.put(ROWS_CHANGELOG, "ada", topics.records[topics.place(ROWS_CHANGELOG, 0)].value)
    assert topics.found()["changelog"] == "the row is running, but an earlier row is rolling-back"


def test_a_completed_saga_without_its_last_message_is_found() -> None:
    topics = completed()
    topics.drop("notified")
    assert topics.found() == {"changelog": "the row is completed, but notified has no request for complete"}


def test_a_completed_saga_of_which_something_was_taken_back_is_found() -> None:
    topics = completed()
    topics.records += [each for each in refused().records if each.topic == "revoke"]
    assert "the row is completed, but there is a request on revoke" in topics.found()["changelog"]


def test_a_saga_that_services_have_worked_on_without_a_row_is_found() -> None:
    topics = completed()
    topics.records = [each for each in topics.records if each.topic != ROWS_CHANGELOG]
    assert "there is a request on authorize, but no row in the changelog" in topics.found()["changelog"]


def test_a_row_that_cannot_be_read_is_found() -> None:
    topics = completed()
    topics.put(ROWS_CHANGELOG, "ada", b"hello")
    assert topics.found() == {"changelog": "unreadable row: not JSON: expected value at line 1 column 1"}


# -- a step without its predecessor


@pytest.mark.parametrize("topic", ["new-user", "authorize", "notify"])
def test_a_request_that_is_missing_is_missed_by_the_next(topic: str) -> None:
    topics = completed()
    topics.drop(topic)
    assert f"but {topic} has no request for" in topics.found()["no-predecessor"]


def test_a_step_that_was_skipped_is_found() -> None:
    topics = completed()
    topics.change(Message, "notify", lambda m: replace(m, history=m.history[:1]))
    assert topics.found()["no-predecessor"].startswith("request to notify without authorize done")


def test_an_undo_that_comes_before_the_undo_of_a_newer_step_is_found() -> None:
    topics = refused()
    topics.change(Message, "deprovision", lambda m: replace(m, history=m.history[:-1]))
    assert topics.found()["no-predecessor"].startswith("request to deprovision without revoke before it")


def test_an_undo_that_nothing_led_to_is_found() -> None:
    topics = completed()
    slip = Slip([], [], undoing=True)
    topics.put("revoke", "ada", replace(requested(), slip=slip, history=[visit("provision"), visit("authorize")]))
    assert "request to revoke without a denial or cancellation" in topics.found()["no-predecessor"]


# -- the way back


def without(undo: str) -> Any:
    """A message or a row as it would be if this had never been done."""
    return lambda body: replace(body, history=[line for line in body.history if line.step != undo])


@pytest.mark.parametrize(("undo", "step"), [("revoke", "authorize"), ("deprovision", "provision")])
def test_an_undo_that_is_missing_is_found(undo: str, step: str) -> None:
    topics = refused()
    topics.drop(undo)
    topics.rewrite(without(undo))
    assert topics.found()["undo-missing"] == f"rolled back, but {step} was done, and {undo} was not"


def test_an_undo_that_failed_is_not_rolled_back() -> None:
    topics = incomplete()
    topics.change(Row, ROWS_CHANGELOG, lambda row: replace(row, state="rolled-back"))
    assert "revoke was not" in topics.found()["undo-missing"]


def test_a_step_that_was_done_after_its_undo_is_found() -> None:
    topics = refused()
    late = topics.drop("notify")
    topics.rewrite(without("authorize"))  # nobody had heard of it
    topics.second += 60

    def much_later(message: Message) -> Message:
        return replace(message, history=[replace(line, started_at=at(60)) for line in message.history])

    topics.put("notify", "ada", much_later(decode(Message, late.value)))
    assert topics.found()["undo-missing"] == "rolled back, but authorize was done after revoke"


def test_a_mail_that_was_not_taken_back_is_found() -> None:
    topics = cancelled_too_late()
    topics.rewrite(without("retract"))
    assert "notify was done, and retract was not" in topics.found()["mail-after-rollback"]


def test_a_mail_that_its_undo_knew_nothing_of_is_found() -> None:
    topics = cancelled_too_late()

    def knew_nothing(body: Any) -> Any:
        nothing = {"retract": "nothing to take back"}
        return replace(body, history=[replace(line, reason=nothing.get(line.step)) for line in body.history])

    topics.rewrite(knew_nothing)
    assert "retract found nothing to compensate" in topics.found()["mail-after-rollback"]


# -- dead letters


def test_a_dead_letter_that_no_row_knows_of_is_found() -> None:
    topics, _ = parked_at_authorize()
    topics.drop(ROWS_CHANGELOG)
    found = topics.found()
    assert found["unnoted-dead-letter"] == (
        "authorize[0]@0 is a dead letter (Permanent at authorize), but the row is running at authorize"
    )
    assert "dead letter: Permanent at authorize" in found["never-ended"]


def test_a_second_dead_letter_of_a_redriven_saga_must_be_noted_too() -> None:
    topics, row = parked_at_authorize()
    turn = topics.tell("redriven", row)
    assert turn is not None
    assert turn.onward is not None
    topics.put("authorize", "ada", turn.onward.message)
    topics.bury("authorize", turn.onward.message)
    assert "authorize[0]@1 is a dead letter" in topics.found()["unnoted-dead-letter"]
    topics.park("authorize", turn.onward.message)
    assert topics.found() == {}


def test_a_dead_letter_that_cannot_be_read_is_found() -> None:
    topics = completed()
    topics.put(DLQ, "ada", b"{}")
    assert "unreadable dead letter" in topics.found()["unnoted-dead-letter"]


# -- offsets committed past unfinished work


@pytest.mark.parametrize(("topic", "next_topic"), [("authorize", "notify"), ("notify", "notified")])
def test_a_request_of_which_nothing_came_is_found_once_it_is_committed(topic: str, next_topic: str) -> None:
    topics = Topics()
    topics.go_on("new-user", topics.ask("new-user", requested()), stop=next_topic)
    assert "without an effect: no next message" in topics.found()["unfinished"]
    committed = topics.committed()
    for offsets in committed.values():
        offsets.pop((topic, 0), None)
    assert {each.kind for each in audit_records(topics.records, committed).findings} == {"never-ended"}


def test_a_lost_undo_is_found_though_its_saga_is_rolling_back() -> None:
    topics = refused()
    topics.drop(ROWS_CHANGELOG)
    topics.drop(ROWS_CHANGELOG)
    topics.drop("deprovision")
    assert "the authorizer has committed the request to revoke" in topics.found()["unfinished"]


def test_garbage_must_become_a_dead_letter_before_its_offset_is_committed() -> None:
    topics = completed()
    topics.put("authorize", "ada", b"hello")
    assert topics.found()["unfinished"] == (
        "the authorizer has committed an unreadable message, and there is no dead letter: "
        "not JSON: expected value at line 1 column 1"
    )
    topics.bury("authorize", None, b"hello")
    assert topics.found() == {}


def test_a_message_that_a_step_has_refused_makes_no_saga() -> None:
    topics = completed()
    topics.put("authorize", "eve", requested("eve"))
    topics.bury("authorize", None, b"whatever")
    report = topics.audit()
    assert (report.findings, report.sagas) == ([], 1)


def test_a_record_on_the_wrong_partition_must_have_been_sent_on() -> None:
    topics = Topics()
    topics.saga("u4")  # its home among three partitions is the first
    stray = topics.put("new-user", "u4", requested("u4"), partition=2)
    assert topics.found(partitions=3) == {}, "there is one on the right partition"
    topics.drop("new-user", 0)
    assert "belongs on partition 0, but has not forwarded it" in topics.found(partitions=3)["unfinished"]
    assert stray.partition == 2


@pytest.mark.parametrize("kind", ["redriven", "cancelled"])
def test_an_operator_who_was_not_heard_is_found(kind: str) -> None:
    topics, row = parked_at_authorize()
    topics.tell(kind, row)
    assert f"the provisioner has committed the signal {kind}" in topics.found()["unfinished"]


def test_a_signal_about_a_saga_that_nobody_knows_is_nothing() -> None:
    topics, row = parked_at_authorize()
    topics.records = []
    topics.tell("cancelled", row)
    report = topics.audit()
    assert (report.findings, report.sagas) == ([], 0)


# -- what is gone


def test_what_was_deleted_long_ago_is_not_missed_and_the_report_says_so() -> None:
    topics = completed()
    for topic in ("new-user", "authorize", "notify"):
        topics.drop(topic)
    gathering = Gathering()
    gathering.take_all(topics.records)
    until = (START + 100) * 1000
    lost = {(topic, 0): until for topic in ("new-user", "authorize", "notify")}
    report = judge(gathering, LogState(gathering.newest, 1, topics.committed(), lost))
    assert report.findings == []
    assert report.counts["seen_in_part"] == 1
    assert report.left_out[0] == (
        f"new-user: records until {at(100)} were deleted from 1 of 1 partitions; "
        "for sagas that began earlier, checks that need them were skipped"
    )


def test_a_request_that_waited_until_its_neighbours_had_gone_is_not_missed() -> None:
    """Its row says where it was; by its times it began after everything that is gone."""
    topics = completed()
    at_offset = topics.next["new-user", 0] + 6
    for place in [n for n, record in enumerate(topics.records) if record.topic == ROWS_CHANGELOG]:
        row = decode(Row, topics.records[place].value)
        topics.records[place] = replace(topics.records[place], value=encode(changed(row, origin=(0, at_offset))))
    topics.drop("new-user")
    gathering = Gathering()
    gathering.take_all(topics.records)
    long_ago = {("new-user", 0): (START - 86_400) * 1000}

    def found(first: int) -> list[str]:
        seen = LogState(gathering.newest, 1, topics.committed(), long_ago, {("new-user", 0): first})
        return [each.sentence for each in judge(gathering, seen).findings]

    assert found(at_offset + 1) == []
    assert any("new-user has no request for provision" in sentence for sentence in found(at_offset))


def test_a_topic_that_was_made_anew_is_found() -> None:
    topics = completed()
    gathering = Gathering()
    gathering.take_all(topics.records)
    seen = LogState(gathering.newest, 1, {"notifier": {("notify", 0): 41}}, ends={("notify", 0): 1})
    [finding] = judge(gathering, seen).findings
    assert "the notifier has committed offset 41, but the partition ends at 1" in finding.sentence


def test_a_saga_takes_less_than_three_kilobytes() -> None:
    topics = Topics()
    for n in range(300):
        topics.saga(f"user-with-an-id-{n}")
    tracemalloc.start()
    gathering = Gathering()
    gathering.take_all(topics.records)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert judge(gathering, LogState(gathering.newest)).sagas == 300
    assert taken / 300 < 3_000


def greylisted() -> Topics:
    """A saga whose mail was deferred for ten minutes: its request is committed and waits outside the partition."""
    topics = Topics()
    message = topics.go_on("new-user", topics.ask("new-user", requested()), stop="notify")
    topics.put("notify", message.id, message)
    failed = Signal(
        1, "ada", "onboarding", "failed", "notify", "notifier", at(topics.second), 6, 16, at(topics.second + 600), "451"
    )
    topics.put(SIGNALS, message.id, failed)
    return topics


@pytest.mark.field(11)
def test_a_request_that_waits_for_its_next_attempt_is_not_unfinished(now: Callable[[str], None]) -> None:
    topics = greylisted()
    report = topics.audit(now=int((START + 500) * 1000))
    assert (report.findings, report.counts["retrying"]) == ([], 1)
    now("saga audit: a waiting request counts as retrying")


@pytest.mark.field(11)
def test_a_request_whose_planned_attempt_did_not_happen_is_unfinished() -> None:
    assert set(greylisted().found(now=int((START + 700) * 1000))) == {"unfinished", "never-ended"}


@pytest.mark.field(11)
def test_a_request_that_was_published_again_and_is_not_handled_yet_is_not_unfinished() -> None:
    topics = greylisted()
    committed = topics.committed()
    topics.put("notify", "ada", topics.records[topics.place("notify")].value)
    report = audit_records(topics.records, committed, now=int((START + 700) * 1000))
    assert "unfinished" not in {finding.kind for finding in report.findings}


def test_a_request_that_was_published_again_for_its_attempt_is_no_duplicate() -> None:
    topics = greylisted()
    topics.second += 600
    value = topics.records[topics.place("notify")].value
    topics.put("notify", "ada", value)
    topics.go_on("notify", decode(Message, value))
    report = topics.audit()
    assert (report.findings, report.counts.get("duplicates", 0)) == ([], 0)


@pytest.mark.field(30)
def test_a_saga_from_before_the_topics_grew_adds_up_where_it_was_handled() -> None:
    topics = Topics()
    row = topics.saga("u4")  # on the first partition, which is not its home among sixteen
    home = partition_of(b"u4", 16)
    assert home != 0
    assert "has not forwarded it" in topics.found(partitions=16)["unfinished"], "nobody has moved it"
    topics.second += 10
    topics.put(ROWS_CHANGELOG, "u4", row, partition=home)
    assert topics.found(partitions=16) == {}
    topics.second += 10
    topics.put(ROWS_CHANGELOG, "u4", decode(Row, topics.records[topics.place(ROWS_CHANGELOG, 0)].value), partition=0)
    assert "there are rows on several partitions" in topics.found(partitions=16)["changelog"]
