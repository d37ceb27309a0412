"""The fold: records become saga rows and events, independent of the order in which the topics are read."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.console.index import dead_letters, fold
from saga_app.console.index.filters import ErrorFilter
from saga_app.console.redrive_headers import REDRIVEN
from saga_app.saga import operator_signals, saga_row
from saga_app.saga.codec import decode, encode
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Message, Row, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Denied
from saga_app.saga.times import utc
from tests.builders import ADA, NO, at, request_to
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics, copy_of
from tests.unit.console.index_harness import IndexHarness


def sagas_in_all_states() -> FakeTopics:
    """Sagas that are completed, running, rolled back, parked and overdue: six in total, with one dead letter."""
    topics = FakeTopics()
    topics.run_saga("done")
    topics.run_saga("under-way", begin=0.2, steps=2)
    topics.run_saga("denied", begin=0.4, outcomes={"authorize": NO})
    topics.run_saga("undone", begin=0.5, pace=0.3, outcomes={"notify": Denied("refused")})
    topics.run_saga("stuck", begin=0.6, steps=1)
    topics.park(next(raw for raw in topics.records if raw.topic == "authorize" and raw.key == b"stuck"), 5)
    topics.run_saga("late", begin=0.7, steps=1)
    topics.write_failed_attempt("late", "authorize", "authorizer", 3)
    topics.write_overdue("late", 9)
    return topics


def rows_of(harness: IndexHarness) -> dict[str, Row]:
    """All rows in the index, by saga id."""
    with harness.index.database.engine.connect() as connection:
        found = connection.exec_driver_sql("select id, row from sagas").all()
    return {id: decode(Row, row) for id, row in found}


def order_independent_part(row: Row) -> object:
    """The part of a row that must not depend on the order of reading; `updated_at` of an unfinished saga may."""
    if row.ended:
        return encode(row)
    return row.state, row.step, row.started_at, row.facts, row.history, row.overdue, row.trouble


def assert_same_content(got: IndexHarness, expected: IndexHarness) -> None:
    """Compare two indexes that have read all records of `ORDERED`, and close them."""
    got_rows, expected_rows = rows_of(got), rows_of(expected)
    assert got_rows.keys() == expected_rows.keys()
    for id, row in got_rows.items():
        assert order_independent_part(row) == order_independent_part(expected_rows[id])
    assert got.index.counts() == expected.index.counts()
    assert {state: n for state, n in got.fold.figures.counts.items() if n} == got.index.counts()
    assert got.index.errors == expected.index.errors == 1
    for each in (got, expected):
        each.close()


#: The records of all sagas in the order of time.
ORDERED = sagas_in_all_states().sorted_records


@settings(max_examples=40, deadline=None)
@given(st.permutations(ORDERED), st.lists(st.sampled_from(ORDERED), max_size=20), st.integers(1, 40))
def test_any_order_and_any_duplicates_of_records_give_the_same_rows(
    shuffled: list[FakeRecord], duplicates: list[FakeRecord], batch: int
) -> None:
    with TemporaryDirectory() as folder:
        expected = IndexHarness(f"sqlite:///{folder}/ordered.sqlite")
        expected.read(ORDERED)
        got = IndexHarness(f"sqlite:///{folder}/shuffled.sqlite", live=False)
        records = shuffled + duplicates
        for start in range(0, len(records), batch):
            got.read(records[start : start + batch])
        assert_same_content(got, expected)


@settings(max_examples=40, deadline=None)
@given(st.permutations(ORDERED), st.integers(1, 40))
def test_a_bulk_rebuild_gives_the_same_rows_and_publishes_no_events(shuffled: list[FakeRecord], batch: int) -> None:
    with TemporaryDirectory() as folder:
        expected = IndexHarness(f"sqlite:///{folder}/ordered.sqlite")
        expected.read(ORDERED)
        got = IndexHarness(f"sqlite:///{folder}/bulk.sqlite", live=False)
        got.fold.bulk = True
        records = sorted(shuffled, key=lambda raw: raw.topic != ROWS_CHANGELOG)
        for start in range(0, len(records), batch):
            assert got.read(records[start : start + batch]).events == []
        assert_same_content(got, expected)


def test_a_bulk_rebuild_does_not_decode_requests_of_ended_sagas(
    sqlite_harness: IndexHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = FakeTopics()
    topics.run_saga("ada")
    sqlite_harness.fold.bulk = True
    sqlite_harness.read([raw for raw in topics.sorted_records if raw.topic == ROWS_CHANGELOG])
    monkeypatch.setattr(fold, "parse", Mock(side_effect=AssertionError("decoded")))
    sqlite_harness.read([raw for raw in topics.sorted_records if raw.topic != ROWS_CHANGELOG])
    assert sqlite_harness.index.counts() == {"completed": 1}


def test_a_bulk_rebuild_keeps_the_latest_entry_of_a_saga_that_has_not_ended(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada", steps=2)
    sqlite_harness.fold.bulk = True
    for topic in (ROWS_CHANGELOG, "notify", "authorize", "new-user"):
        sqlite_harness.read([raw for raw in topics.sorted_records if raw.topic == topic])
    entry = sqlite_harness.fold.open["ada"].entry
    assert entry is not None
    assert (entry.topic, entry.kind, entry.step) == ("notify", "requested", "notify")


def test_a_restart_after_any_record_changes_neither_rows_nor_events(tmp_path: Path) -> None:
    for cut in range(0, len(ORDERED), 5):
        harness = IndexHarness(f"sqlite:///{tmp_path}/{cut}.sqlite")
        harness.read(ORDERED[:cut])
        seq = harness.fold.seq
        harness.restart()
        assert harness.fold.seq == seq
        changes = harness.read(ORDERED[cut:])
        assert [event.seq for event in changes.events] == list(range(seq + 1, harness.fold.seq + 1))
        assert harness.index.counts() == {"completed": 1, "running": 2, "rolled-back": 2, "parked": 1}
        harness.close()


def test_every_step_of_a_saga_is_one_event_and_its_end_the_last(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada")
    events = sqlite_harness.read([*topics.sorted_records, *topics.sorted_records]).events
    kinds = [event.entry.kind if event.entry else "end" for event in events]
    assert kinds == ["requested", *["done", "requested"] * 3, "completed", "end"]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].row.state == "completed"


def test_records_of_an_ended_saga_cause_no_events_after_a_restart(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada")
    sqlite_harness.read(topics.sorted_records)
    sqlite_harness.restart()
    assert sqlite_harness.read(topics.sorted_records).events == []


def test_a_saga_overtakes_running_sagas_that_started_earlier(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("slow", begin=0.0, pace=2.0)
    topics.run_saga("slower", begin=0.1, pace=3.0)
    topics.run_saga("quick", begin=0.2, pace=0.5)
    sqlite_harness.read(topics.sorted_records)
    overtook = {id: tracked.overtook for id, tracked in sqlite_harness.fold.recent.items()}
    assert overtook == {"quick": 2, "slow": 0, "slower": 0}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30), st.booleans()), min_size=1, max_size=30))
def test_a_rebuild_counts_overtaken_sagas_by_their_times(lives: list[tuple[int, int, bool]]) -> None:
    topics = FakeTopics()
    for number, (begin, pace, ends) in enumerate(lives):
        topics.run_saga(f"s{number}", begin=begin, pace=pace, steps=100 if ends else 1)
    spans = {
        f"s{n}": (begin, f"s{n}", begin + 4 * pace if ends else 9e9) for n, (begin, pace, ends) in enumerate(lives)
    }
    with TemporaryDirectory() as folder:
        harness = IndexHarness(f"sqlite:///{folder}/index.sqlite", live=False)
        for topic in {raw.topic for raw in topics.sorted_records}:
            harness.read([raw for raw in topics.sorted_records if raw.topic == topic])
        assert harness.finish_backlog() == sum(ends for _, _, ends in lives)
        with harness.index.database.engine.connect() as connection:
            found = connection.exec_driver_sql("select id, overtook from sagas where ended_at is not null").all()
        harness.close()
    for id, count in found:
        start, name, end = spans[id]
        least = sum(1 for s, n, e in spans.values() if (s, n) < (start, name) and e > end)
        most = sum(1 for s, n, e in spans.values() if (s, n) < (start, name) and e >= end)
        assert least <= count <= most  # of two sagas that end in the same millisecond, either may be first


def test_a_dead_letter_is_open_until_its_saga_continues(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada", steps=1)
    topics.park(topics.records[-2], 3)
    sqlite_harness.read(topics.sorted_records)
    assert sqlite_harness.index.errors == 1
    later = FakeTopics(topics.start + 10)
    later.run_saga("ada")
    sqlite_harness.read(later.sorted_records)
    assert sqlite_harness.index.errors == 0


def test_an_unreadable_dead_letter_stays_open_and_has_no_saga(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.park(FakeRecord("notify", 1, 7, 0, b"\xff\xfe", b"\x00not json"), 1, error="BadMessage")
    topics.park(FakeRecord("notify", 1, 7, 0, b"\xff\xfe", b"\x00not json"), 2, error="BadMessage")
    sqlite_harness.read(topics.sorted_records)
    assert sqlite_harness.index.errors == 1
    assert sqlite_harness.index.counts() == {}


def test_a_resent_record_resolves_its_dead_letter_in_any_order(harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.park(FakeRecord("notify", 1, 7, 0, None, b"\x00not json"), 1, error="BadMessage")
    topics.park(FakeRecord("notify", 1, 8, 0, None, b"\x00not json"), 1, error="BadMessage")
    topics.write("notify", None, b"\x00not json", 2, [(REDRIVEN, b"notify[1]@7")])
    for order in (topics.records, topics.records[::-1]):
        harness.index.rebuild("test")
        for raw in [*order, *order]:
            harness.read([raw])
        assert harness.index.errors == 1
        with harness.index.database.engine.connect() as connection:
            assert [held.place.offset for held in dead_letters.matching(connection, ErrorFilter())] == [8]


def test_a_cancelled_saga_has_the_same_row_in_any_order_of_reading(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    row = topics.run_saga("ada", steps=3)  # its records are three steps ahead of the row that is cancelled
    before = saga_row.row_waiting_for(ONBOARDING, "authorize", request_to("authorize"), at(1))
    signal = Signal(
        v=1, id="ada", saga="onboarding", kind="cancelled", step="authorize", service="authorizer", at=at(9), by="ana"
    )
    decision = operator_signals.apply_operator_signal(ONBOARDING, before, signal)
    assert decision is not None
    assert decision.onward is not None
    assert row.state == "running"
    topics.write(SIGNALS, "ada", encode(signal), 9)
    topics.write(ROWS_CHANGELOG, "ada", encode(decision.row), 9.1)
    sqlite_harness.read(topics.sorted_records)
    assert rows_of(sqlite_harness)["ada"].state == "rolling-back"
    topics.write(decision.onward.topic, "ada", encode(decision.onward.message), 9.2)
    sqlite_harness.read(topics.records[-1:])
    sqlite_harness.read(topics.sorted_records)
    got = rows_of(sqlite_harness)["ada"]
    assert (got.state, got.reason, got.step) == ("rolling-back", "cancelled by ana", decision.row.step)


def test_an_overdue_saga_keeps_its_deadline(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    row = topics.run_saga("ada", steps=1)
    signal = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="overdue",
        step="authorize",
        service="authorizer",
        at=at(61),
        due_at=at(60),
    )
    topics.write(SIGNALS, "ada", encode(signal), 61)
    topics.write(ROWS_CHANGELOG, "ada", encode(operator_signals.mark_signal(row, signal)), 61.1)
    for order in (topics.sorted_records, topics.sorted_records[-1:]):
        sqlite_harness.read(order)
        assert (rows_of(sqlite_harness)["ada"].overdue, rows_of(sqlite_harness)["ada"].due_at) == (True, at(60))
        sqlite_harness.rebuild()


def test_unreadable_records_do_not_disturb_other_sagas(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    for topic in ("new-user", "authorize", "saga-signals", "dlq", "provisioner-sagas-changelog"):
        for value in (b"", b"\xff", b"{}", b'{"v":2}', b"null", b"[1]"):
            topics.write(topic, "ada", value, 0)
    topics.run_saga("ada", begin=1)
    sqlite_harness.read(topics.sorted_records)
    assert sqlite_harness.index.counts() == {"completed": 1}


def test_a_record_without_a_key_is_assigned_to_its_saga(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada")
    sqlite_harness.read(topics.sorted_records)
    sqlite_harness.restart()
    keyless = [replace(raw, key=None) for raw in topics.sorted_records if raw.topic == "new-user"]
    assert sqlite_harness.read(keyless).events == []
    other = FakeTopics()
    other.run_saga("bob", steps=0)
    sqlite_harness.read([replace(raw, key=None) for raw in other.sorted_records])
    assert sqlite_harness.index.counts() == {"completed": 1, "running": 1}


def test_a_request_without_a_routing_slip_is_not_a_saga() -> None:
    topics = FakeTopics()
    topics.write("authorize", "ghost", encode(Message(v=1, id="ghost", user=ADA)), 0)  # without a routing slip
    with TemporaryDirectory() as folder:
        harness = IndexHarness(f"sqlite:///{folder}/index.sqlite")
        harness.read(topics.sorted_records)
        assert rows_of(harness) == {}


@pytest.mark.field(2, 3)
@pytest.mark.parametrize("timestamp", [253_402_300_800_000, -1, 0, 2**63 - 1, -(2**63)])
def test_an_implausible_timestamp_is_replaced_by_the_current_time(sqlite_harness: IndexHarness, timestamp: int) -> None:
    topics = FakeTopics(time())
    topics.run_saga("ada", steps=1)
    first = replace(topics.records[0], timestamp=timestamp)
    sqlite_harness.read([first])
    assert abs(sqlite_harness.fold.open["ada"].row.started_at.timestamp() - time()) < 60


@pytest.mark.field(36)
@pytest.mark.parametrize("clock_offset_s", [-300.0, 300.0])
def test_a_running_saga_has_the_start_time_that_the_provisioner_wrote(
    sqlite_harness: IndexHarness, clock_offset_s: float
) -> None:
    topics = FakeTopics(time() - 1000)
    topics.run_saga("ada", steps=2)
    for record in topics.records:
        record.timestamp += int(clock_offset_s * 1000)
        sqlite_harness.read([record])
    row = sqlite_harness.fold.open["ada"].row
    assert row.started_at == utc(topics.start)
    assert row.updated_at >= row.started_at


@pytest.mark.field(3)
def test_an_unreadable_dead_letter_is_open_until_its_saga_continues(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada", steps=1)
    bad = topics.write("authorize", "ada", b"\xff", 3)
    letter = DeadLetter(
        v=1,
        topic=bad.topic,
        partition=bad.partition,
        offset=bad.offset,
        service="authorizer",
        step="authorize",
        error="BadMessage",
        reason="not JSON",
        attempts=1,
        received_at=utc(topics.start + 4),
        at=utc(topics.start + 4),
        id="ada",
    )
    topics.write(DLQ, "ada", b"\xff", 4, [(DEAD_LETTER, encode(letter))])
    sqlite_harness.read(topics.records)
    assert sqlite_harness.fold.open["ada"].row.state == "parked"
    assert sqlite_harness.index.errors == 1
    more = FakeTopics()
    more.run_saga("ada")
    sqlite_harness.read([copy_of(record, record.offset + 10, 10) for record in more.records])
    assert sqlite_harness.index.errors == 0
