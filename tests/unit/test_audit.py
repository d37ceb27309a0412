"""The auditor finds sagas that never ended or ended twice, and rows that disagree with the messages.

Further checks: test_audit_order.py (missing predecessors, rollbacks, dead letters), test_audit_offsets.py (committed
offsets, deleted records, planned retries).
"""

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.audit import audit_records
from saga_app.audit.case import LogState
from saga_app.audit.collector import EvidenceCollector
from saga_app.audit.judge import judge
from saga_app.saga import decisions, saga_row
from saga_app.saga.codec import replace_fields
from saga_app.saga.messages import SIGNALS, Message, Row
from saga_app.saga.states import State
from tests.builders import START, at, journey, requested
from tests.unit.audit_topics import (
    OTHER_USER,
    Topics,
    cancelled_after_mail,
    cancelled_while_parked,
    completed,
    denied_without_policy,
    parked_at_authorize,
    redriven,
    rolled_back,
    rolled_back_incompletely,
    visit,
)

#: Histories without a fault.
CLEAN = [
    completed,
    denied_without_policy,
    rolled_back,
    redriven,
    cancelled_while_parked,
    cancelled_after_mail,
    rolled_back_incompletely,
]


@pytest.mark.parametrize("history", CLEAN)
@pytest.mark.parametrize("seed", range(5))
def test_a_clean_history_has_no_findings_in_any_order_of_reading(history: Callable[[], Topics], seed: int) -> None:
    topics = history()
    random.Random(seed).shuffle(topics.records)
    assert topics.findings() == {}


@pytest.mark.parametrize("history", CLEAN)
def test_duplicate_records_are_counted_and_are_no_finding(history: Callable[[], Topics]) -> None:
    topics = history()
    for record in [each for each in topics.records if each.topic not in (ROWS_CHANGELOG, SIGNALS)]:
        topics.append(record.topic, "ada", record.value, record.headers)
    report = topics.audit()
    assert report.findings == []
    assert report.counts["duplicates"] >= 3


@pytest.mark.parametrize("history", CLEAN)
def test_the_last_row_of_a_compacted_changelog_is_sufficient(history: Callable[[], Topics]) -> None:
    topics = history()
    last = topics.records[topics.index_of(ROWS_CHANGELOG)]
    topics.records = [each for each in topics.records if each.topic != ROWS_CHANGELOG or each is last]
    assert topics.findings() == {}


def test_the_summary_counts_states_signals_and_mails() -> None:
    topics, row = parked_at_authorize()
    topics.append_signal("redriven", row)
    counts = topics.audit().counts
    assert {"parked": 1, "redriven": 1, "signals_redriven": 1, "dead_letters": 1}.items() <= counts.items()
    assert redriven().audit().counts["completed"] == 1
    assert cancelled_after_mail().audit().counts["cancelled"] == 1
    assert completed().audit().counts["mails"] == 1


def test_a_parked_saga_is_no_finding() -> None:
    topics, _ = parked_at_authorize()
    assert topics.findings() == {}


def test_a_saga_takes_less_than_three_kilobytes() -> None:
    topics = Topics()
    for n in range(300):
        topics.run_saga(f"user-with-an-id-{n}")
    tracemalloc.start()
    collector = EvidenceCollector()
    collector.take_all(topics.records)
    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert judge(collector, LogState(collector.newest)).sagas == 300
    assert taken_bytes / 300 < 3_000


# -- started and never ended


def test_a_saga_without_a_final_row_has_never_ended() -> None:
    topics = completed()
    topics.remove(ROWS_CHANGELOG)
    findings = topics.findings(now=int((START + 600) * 1000))
    assert findings.keys() == {"never-ended", "unfinished"}, "the offset of its last request is committed"
    assert "10 min ago" in findings["never-ended"]
    assert "running, waiting for authorize" in findings["never-ended"]
    assert "the request to complete without an effect" in findings["unfinished"]


def test_an_overdue_saga_that_never_ended_is_reported_as_overdue() -> None:
    topics = completed()
    topics.remove(ROWS_CHANGELOG)
    topics.change(Row, ROWS_CHANGELOG, lambda row: replace_fields(row, overdue=True))
    assert "has not ended, overdue" in topics.findings()["never-ended"]


def test_a_first_request_that_was_never_processed_has_never_ended() -> None:
    topics = Topics()
    topics.append("new-user", "ada", requested())
    report = audit_records(topics.records)
    assert [each.kind for each in report.findings] == ["never-ended"]
    assert "no row, last request to provision" in report.findings[0].sentence
    assert report.findings[0].proof == ("new-user[0]@0",)


def test_a_saga_with_a_recent_record_is_only_counted_as_under_way() -> None:
    topics = completed()
    topics.remove(ROWS_CHANGELOG)
    report = topics.audit(settle_s=60)
    assert (report.findings, report.counts["under_way"]) == ([], 1)
    assert topics.audit(settle_s=60, now=int((START + 600) * 1000)).findings


# -- ended twice


def later_final_row(state: State) -> Row:
    """A row of Ada's saga with this state, written 99 seconds after its start."""
    end = journey()[-1]
    assert isinstance(end, decisions.End)
    return replace_fields(saga_row.row_ended(end, at(99)), state=state)


@pytest.mark.parametrize("state", ["completed", "rolled-back", "running"])
def test_any_row_after_the_final_row_is_found(state: State) -> None:
    topics = completed()
    topics.append_row(later_final_row(state))
    assert f"then {state} at" in topics.findings()["ended-twice"]


def test_a_repeated_final_row_repairs_a_stale_row_before_it() -> None:
    topics = completed()
    first, *_, last = [each for each in topics.records if each.topic == ROWS_CHANGELOG]
    topics.append(ROWS_CHANGELOG, "ada", first.value)
    assert "ended-twice" in topics.findings()
    topics.append(ROWS_CHANGELOG, "ada", last.value)
    report = topics.audit()
    assert (report.findings, report.counts["repaired_rows"]) == ([], 1)


# -- two devices, and rows that disagree with the messages


def test_two_devices_are_found_and_both_are_named() -> None:
    topics = completed()
    topics.change(Message, "notify", lambda m: replace_fields(m, facts=m.facts | {"device_id": "LT-2"}))
    assert topics.findings() == {"two-devices": "the messages name LT-1 and LT-2"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"facts": {"device_id": "LT-9", "authorizations": ["git"]}}, "device LT-9, and the messages name LT-1"),
        ({"facts": {"device_id": "LT-1", "authorizations": ["root"]}}, "authorizations differs from the messages"),
        ({"facts": {}}, "device_id is missing"),
        ({"user": OTHER_USER}, "the user differs from the messages"),
        ({"history": [visit("provision")]}, "the history is provision done"),
        ({"state": "rolled-back"}, "no denial or cancellation precedes the compensations"),
        ({"state": "parked"}, "there is no dead letter"),
    ],
)
def test_a_row_that_disagrees_with_the_messages_is_found(changes: dict[str, Any], sentence: str) -> None:
    topics = completed()
    topics.change(Row, ROWS_CHANGELOG, lambda row: replace_fields(row, **changes))
    assert sentence in topics.findings()["changelog"]
    assert OTHER_USER.name not in str(topics.audit()), "the report contains personal data"


def test_a_message_with_the_data_of_another_user_is_found() -> None:
    topics = completed()
    topics.change(Message, "notify", lambda message: replace_fields(message, user=OTHER_USER))
    assert topics.findings() == {"changelog": "the row is completed, but the messages have different user data"}


def test_a_saga_that_continues_after_its_rollback_began_is_found() -> None:
    topics = rolled_back()
    topics.remove(ROWS_CHANGELOG)
    topics.append(ROWS_CHANGELOG, "ada", topics.records[topics.index_of(ROWS_CHANGELOG, 0)].value)
    assert topics.findings()["changelog"] == "the row is running, but an earlier row is rolling-back"


def test_a_completed_saga_without_its_last_request_is_found() -> None:
    topics = completed()
    topics.remove("notified")
    assert topics.findings() == {"changelog": "the row is completed, but notified has no request for complete"}


def test_a_completed_saga_with_a_request_to_a_compensation_is_found() -> None:
    topics = completed()
    topics.records += [each for each in rolled_back().records if each.topic == "revoke"]
    assert "the row is completed, but there is a request on revoke" in topics.findings()["changelog"]


def test_a_saga_in_progress_without_a_row_is_found() -> None:
    topics = completed()
    topics.records = [each for each in topics.records if each.topic != ROWS_CHANGELOG]
    assert "there is a request on authorize, but no row in the changelog" in topics.findings()["changelog"]


def test_an_unreadable_row_is_found() -> None:
    topics = completed()
    topics.append(ROWS_CHANGELOG, "ada", b"hello")
    assert topics.findings() == {"changelog": "unreadable row: not JSON: invalid character (byte 0)"}
