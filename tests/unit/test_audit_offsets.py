"""The auditor compares committed offsets with the effects of records, and tolerates deleted and waiting records."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.audit import Report, audit_records
from saga_app.audit.case import LogState
from saga_app.audit.collector import EvidenceCollector
from saga_app.audit.judge import judge
from saga_app.saga.codec import decode, encode, replace_fields
from saga_app.saga.messages import Message, Row
from saga_app.saga.times import iso
from saga_app.stream import partition_of
from tests.builders import START, at, requested
from tests.unit.audit_topics import (
    OperatorAction,
    Topics,
    completed,
    parked_at_authorize,
    rolled_back,
    waiting_for_retry,
)

Now = Callable[[str], None]

# -- offsets committed past unfinished work


@pytest.mark.parametrize(("topic", "next_topic"), [("authorize", "notify"), ("notify", "notified")])
def test_a_committed_request_without_an_effect_is_found(topic: str, next_topic: str) -> None:
    topics = Topics()
    topics.run_until(next_topic)
    assert "without an effect: no next message" in topics.findings()["unfinished"]
    committed = topics.committed()
    for offsets in committed.values():
        offsets.pop((topic, 0), None)
    assert {each.kind for each in audit_records(topics.records, committed).findings} == {"never-ended"}


def test_a_compensation_request_without_an_effect_is_found() -> None:
    topics = rolled_back()
    topics.remove(ROWS_CHANGELOG)
    topics.remove(ROWS_CHANGELOG)
    topics.remove("deprovision")
    assert "the authorizer has committed the request to revoke" in topics.findings()["unfinished"]


def test_a_committed_unreadable_message_needs_a_dead_letter() -> None:
    topics = completed()
    topics.append("authorize", "ada", b"hello")
    assert topics.findings()["unfinished"] == (
        "the authorizer has committed an unreadable message, and there is no dead letter: "
        "not JSON: invalid character (byte 0)"
    )
    topics.append_dead_letter("authorize", None, b"hello")
    assert topics.findings() == {}


def test_a_message_that_a_step_has_rejected_makes_no_saga() -> None:
    topics = completed()
    topics.append("authorize", "eve", requested("eve"))
    topics.append_dead_letter("authorize", None, b"whatever")
    report = topics.audit()
    assert (report.findings, report.sagas) == ([], 1)


def test_a_record_on_the_wrong_partition_must_be_forwarded() -> None:
    topics = Topics()
    topics.run_saga("u4")  # which belongs on the first of three partitions
    misplaced = topics.append("new-user", "u4", requested("u4"), partition=2)
    assert topics.findings(partitions=3) == {}, "there is a copy on the right partition"
    topics.remove("new-user", 0)
    assert "belongs on partition 0, but has not forwarded it" in topics.findings(partitions=3)["unfinished"]
    assert misplaced.partition == 2


@pytest.mark.parametrize("kind", ["redriven", "cancelled"])
def test_an_operator_action_without_an_effect_is_found(kind: OperatorAction) -> None:
    topics, row = parked_at_authorize()
    topics.append_signal(kind, row)
    assert f"the provisioner has committed the signal {kind}" in topics.findings()["unfinished"]


def test_a_signal_of_an_unknown_saga_is_ignored() -> None:
    topics, row = parked_at_authorize()
    topics.records = []
    topics.append_signal("cancelled", row)
    report = topics.audit()
    assert (report.findings, report.sagas) == ([], 0)


# -- deleted records


def audit_with_deletions(
    topics: Topics,
    deleted_until_ms: Mapping[tuple[str, int], float],
    first: Mapping[tuple[str, int], int] | None = None,
) -> Report:
    """Audit topics that have lost old records: until when, and the first remaining offsets."""
    collector = EvidenceCollector()
    collector.take_all(topics.records)
    return judge(collector, LogState(collector.newest, 1, topics.committed(), deleted_until_ms, first or {}))


def test_checks_that_need_deleted_records_are_skipped_and_listed() -> None:
    topics = completed()
    deleted = ("new-user", "authorize", "notify")
    for topic in deleted:
        topics.remove(topic)
    until_ms = (START + 100) * 1000
    report = audit_with_deletions(topics, {(topic, 0): until_ms for topic in deleted})
    assert report.findings == []
    assert report.counts["seen_in_part"] == 1
    assert report.left_out[0] == (
        f"new-user: records until {iso(at(100))} were deleted from 1 of 1 partitions; "
        "for sagas that began earlier, checks that need them were skipped"
    )


def test_a_first_request_counts_as_deleted_by_its_offset() -> None:
    """The row names the offset of the request. By its times alone, the saga began after all deleted records."""
    topics = completed()
    offset = topics.ends["new-user", 0] + 6
    for index in [n for n, record in enumerate(topics.records) if record.topic == ROWS_CHANGELOG]:
        row = replace_fields(decode(Row, topics.records[index].value), origin=(0, offset))
        topics.records[index] = replace(topics.records[index], value=encode(row))
    topics.remove("new-user")

    def sentences(first_offset: int) -> list[str]:
        a_day_earlier_ms = (START - 86_400) * 1000
        first = {("new-user", 0): first_offset}
        return [
            each.sentence for each in audit_with_deletions(topics, {("new-user", 0): a_day_earlier_ms}, first).findings
        ]

    assert sentences(offset + 1) == []
    assert any("new-user has no request for provision" in sentence for sentence in sentences(offset))


def test_a_recreated_topic_is_found_by_a_commit_beyond_its_end() -> None:
    topics = completed()
    collector = EvidenceCollector()
    collector.take_all(topics.records)
    seen = LogState(collector.newest, 1, {"notifier": {("notify", 0): 41}}, ends={("notify", 0): 1})
    [finding] = judge(collector, seen).findings
    assert "the notifier has committed offset 41, but the partition ends at 1" in finding.sentence


# -- planned retries


@pytest.mark.field(11)
def test_a_request_that_waits_for_its_next_attempt_is_not_unfinished(now: Now) -> None:
    report = waiting_for_retry().audit(now=int((START + 500) * 1000))
    assert (report.findings, report.counts["retrying"]) == ([], 1)
    now("saga audit: a waiting request counts as retrying")


@pytest.mark.field(11)
def test_a_request_whose_planned_attempt_did_not_happen_is_unfinished() -> None:
    assert set(waiting_for_retry().findings(now=int((START + 700) * 1000))) == {"unfinished", "never-ended"}


@pytest.mark.field(11)
def test_a_republished_request_is_not_unfinished_before_its_commit() -> None:
    topics = waiting_for_retry()
    committed = topics.committed()
    topics.append("notify", "ada", topics.records[topics.index_of("notify")].value)
    report = audit_records(topics.records, committed, now=int((START + 700) * 1000))
    assert "unfinished" not in {finding.kind for finding in report.findings}


def test_a_request_republished_for_its_next_attempt_is_no_duplicate() -> None:
    topics = waiting_for_retry()
    topics.elapsed_s += 600
    value = topics.records[topics.index_of("notify")].value
    topics.append("notify", "ada", value)
    topics.run_from("notify", decode(Message, value))
    report = topics.audit()
    assert (report.findings, report.counts.get("duplicates", 0)) == ([], 0)


# -- more partitions


@pytest.mark.field(30)
def test_a_saga_from_before_topics_grew_is_checked_on_its_old_partition() -> None:
    topics = Topics()
    row = topics.run_saga("u4")  # on the first partition; among sixteen it belongs on another
    home = partition_of(b"u4", 16)
    assert home != 0
    assert "has not forwarded it" in topics.findings(partitions=16)["unfinished"], "its row was not moved"
    topics.elapsed_s += 10
    topics.append(ROWS_CHANGELOG, "u4", row, partition=home)
    assert topics.findings(partitions=16) == {}
    topics.elapsed_s += 10
    first_row = topics.records[topics.index_of(ROWS_CHANGELOG, 0)].value
    topics.append(ROWS_CHANGELOG, "u4", decode(Row, first_row), partition=0)
    assert "there are rows on several partitions" in topics.findings(partitions=16)["changelog"]
