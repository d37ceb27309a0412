"""What is read from the topics, in whatever order, becomes the same rows."""

from collections.abc import Callable
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
from saga_app.console.record_id import REDRIVEN
from saga_app.saga import machine
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Message, Row, Signal, decode, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Denied
from saga_app.saga.times import epoch, iso
from tests.builders import ADA, NO, at, journey
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics, again
from tests.unit.console.filled_index import FilledIndex


def eventful() -> FakeTopics:
    """Sagas of every kind."""
    logs = FakeTopics()
    logs.saga("done")
    logs.saga("under-way", begin=0.2, steps=2)
    logs.saga("denied", begin=0.4, outcomes={"authorize": NO})
    logs.saga("undone", begin=0.5, pace=0.3, outcomes={"notify": Denied("refused")})
    logs.saga("stuck", begin=0.6, steps=1)
    logs.park(next(raw for raw in logs.written if raw.topic == "authorize" and raw.key == b"stuck"), 5)
    logs.saga("late", begin=0.7, steps=1)
    logs.failed("late", "authorize", "authorizer", 3)
    logs.overdue("late", 9)
    return logs


def rows(reading: FilledIndex) -> dict[str, Row]:
    """All rows in the index, by id."""
    with reading.index.database.engine.connect() as connection:
        found = connection.exec_driver_sql("select id, row from sagas").all()
    return {id: decode(Row, row) for id, row in found}


def told(row: Row) -> object:
    """What must not depend on the order of reading; while a saga is under way, the time of its news may."""
    if row.ended:
        return encode(row)
    return row.state, row.step, row.started_at, row.facts, row.history, row.overdue, row.trouble


def come_to_the_same(got: FilledIndex, expected: FilledIndex) -> None:
    """Both have read everything, in whatever order; ends them."""
    assert {id: told(row) for id, row in rows(got).items()} == {id: told(row) for id, row in rows(expected).items()}
    assert got.index.counts() == expected.index.counts()
    assert {state: n for state, n in got.fold.figures.counts.items() if n} == got.index.counts()
    assert got.index.errors == expected.index.errors == 1
    for each in (got, expected):
        each.close()


ORDERED = eventful().records


@settings(max_examples=40, deadline=None)
@given(st.permutations(ORDERED), st.lists(st.sampled_from(ORDERED), max_size=20), st.integers(1, 40))
def test_any_order_of_reading_and_any_duplicates_give_the_same_rows(
    shuffled: list[FakeRecord], twice: list[FakeRecord], batch: int
) -> None:
    with TemporaryDirectory() as folder:
        expected = FilledIndex(f"sqlite:///{folder}/ordered.sqlite")
        expected.read(ORDERED)
        got = FilledIndex(f"sqlite:///{folder}/shuffled.sqlite", live=False)
        records = shuffled + twice
        for start in range(0, len(records), batch):
            got.read(records[start : start + batch])
        come_to_the_same(got, expected)


@settings(max_examples=40, deadline=None)
@given(st.permutations(ORDERED), st.integers(1, 40))
def test_a_rebuild_that_reads_the_table_first_gives_the_same_rows_and_tells_no_steps(
    shuffled: list[FakeRecord], batch: int
) -> None:
    with TemporaryDirectory() as folder:
        expected = FilledIndex(f"sqlite:///{folder}/ordered.sqlite")
        expected.read(ORDERED)
        got = FilledIndex(f"sqlite:///{folder}/bulk.sqlite", live=False)
        got.fold.bulk = True
        records = sorted(shuffled, key=lambda raw: raw.topic != ROWS_CHANGELOG)
        for start in range(0, len(records), batch):
            assert got.read(records[start : start + batch]).events == []
        come_to_the_same(got, expected)


def test_of_a_saga_that_the_table_knows_to_have_ended_a_rebuild_decodes_no_request(
    on_sqlite: FilledIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = FakeTopics()
    logs.saga("ada")
    on_sqlite.fold.bulk = True
    on_sqlite.read([raw for raw in logs.records if raw.topic == ROWS_CHANGELOG])
    monkeypatch.setattr(fold, "parse", Mock(side_effect=AssertionError("decoded")))
    on_sqlite.read([raw for raw in logs.records if raw.topic != ROWS_CHANGELOG])
    assert on_sqlite.index.counts() == {"completed": 1}


def test_a_restart_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    for cut in range(0, len(ORDERED), 5):
        reading = FilledIndex(f"sqlite:///{tmp_path}/{cut}.sqlite")
        reading.read(ORDERED[:cut])
        seq = reading.fold.seq
        reading.restart()
        assert reading.fold.seq == seq
        changes = reading.read(ORDERED[cut:])
        assert [event.seq for event in changes.events] == list(range(seq + 1, reading.fold.seq + 1))
        assert reading.index.counts() == {"completed": 1, "running": 2, "rolled-back": 2, "parked": 1}
        reading.close()


def test_every_step_of_a_saga_is_told_once_and_its_end_last(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    logs.saga("ada")
    events = on_sqlite.read([*logs.records, *logs.records]).events
    kinds = [event.entry.kind if event.entry else "the saga" for event in events]
    assert kinds == ["requested", *["done", "requested"] * 3, "completed", "the saga"]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].row.state == "completed"


def test_a_saga_that_ended_is_told_nothing_of_again_after_a_restart(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    logs.saga("ada")
    on_sqlite.read(logs.records)
    on_sqlite.restart()
    assert on_sqlite.read(logs.records).events == []


def test_who_finishes_first_has_overtaken_those_who_started_earlier(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    logs.saga("slow", begin=0.0, pace=2.0)
    logs.saga("slower", begin=0.1, pace=3.0)
    logs.saga("quick", begin=0.2, pace=0.5)
    on_sqlite.read(logs.records)
    overtook = {id: tracked.overtook for id, tracked in on_sqlite.fold.recent.items()}
    assert overtook == {"quick": 2, "slow": 0, "slower": 0}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30), st.booleans()), min_size=1, max_size=30))
def test_after_a_rebuild_everybody_has_overtaken_as_many_as_when_it_happened(
    lives: list[tuple[int, int, bool]],
) -> None:
    logs = FakeTopics()
    for number, (begin, pace, ends) in enumerate(lives):
        logs.saga(f"s{number}", begin=begin, pace=pace, steps=100 if ends else 1)
    spans = {
        f"s{n}": (begin, f"s{n}", begin + 4 * pace if ends else 9e9) for n, (begin, pace, ends) in enumerate(lives)
    }
    with TemporaryDirectory() as folder:
        reading = FilledIndex(f"sqlite:///{folder}/index.sqlite", live=False)
        for topic in {raw.topic for raw in logs.records}:
            reading.read([raw for raw in logs.records if raw.topic == topic])
        assert reading.settle() == sum(ends for _, _, ends in lives)
        with reading.index.database.engine.connect() as connection:
            found = dict(connection.exec_driver_sql("select id, overtook from sagas where ended_at is not null").all())
        reading.close()
    for id, count in found.items():
        start, name, end = spans[id]
        least = sum(1 for s, n, e in spans.values() if (s, n) < (start, name) and e > end)
        most = sum(1 for s, n, e in spans.values() if (s, n) < (start, name) and e >= end)
        assert least <= count <= most  # of two that end in the same millisecond either may be first


def test_a_dead_letter_is_open_until_its_saga_goes_on(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    logs.saga("ada", steps=1)
    asked = logs.written[-2]
    logs.park(asked, 3)
    on_sqlite.read(logs.records)
    assert on_sqlite.index.errors == 1
    later = FakeTopics(logs.start + 10)
    later.saga("ada")
    on_sqlite.read(later.records)
    assert on_sqlite.index.errors == 0


def test_garbage_in_the_dlq_stays_open_and_belongs_to_no_saga(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    logs.park(FakeRecord("notify", 1, 7, 0, b"\xff\xfe", b"\x00not json"), 1, error="BadMessage")
    logs.park(FakeRecord("notify", 1, 7, 0, b"\xff\xfe", b"\x00not json"), 2, error="BadMessage")
    on_sqlite.read(logs.records)
    assert on_sqlite.index.errors == 1
    assert on_sqlite.index.counts() == {}


def test_garbage_that_was_sent_again_is_dealt_with_in_whatever_order_it_is_read(
    reading: Callable[..., FilledIndex],
) -> None:
    logs = FakeTopics()
    logs.park(FakeRecord("notify", 1, 7, 0, None, b"\x00not json"), 1, error="BadMessage")
    logs.park(FakeRecord("notify", 1, 8, 0, None, b"\x00not json"), 1, error="BadMessage")
    logs.write("notify", None, b"\x00not json", 2, [(REDRIVEN, b"notify[1]@7")])
    made = reading()
    for order in (logs.written, logs.written[::-1]):
        made.index.rebuild("test")
        for raw in [*order, *order]:
            made.read([raw])
        assert made.index.errors == 1
        with made.index.database.engine.connect() as connection:
            assert [held.place.offset for held in dead_letters.matching(connection, ErrorFilter())] == [8]


def test_a_saga_that_an_operator_turns_round_is_the_same_in_whatever_order_it_is_read(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    row = logs.saga("ada", steps=3)  # three steps further than its row says
    before = machine.row_waiting_for(ONBOARDING, "authorize", journey()[1][1], at(1))  # type: ignore[index]
    signal = Signal(1, "ada", "onboarding", "cancelled", "authorize", "authorizer", at(9), by="ana")
    turn = machine.apply_operator_signal(ONBOARDING, before, signal)
    assert turn is not None
    assert turn.onward is not None
    assert row.state == "running"
    logs.write(SIGNALS, "ada", encode(signal), 9)
    logs.write(ROWS_CHANGELOG, "ada", encode(turn.row), 9.1)
    on_sqlite.read(logs.records)
    assert rows(on_sqlite)["ada"].state == "rolling-back"
    logs.write(turn.onward.topic, "ada", encode(turn.onward.message), 9.2)
    on_sqlite.read(logs.written[-1:])
    on_sqlite.read(logs.records)
    got = rows(on_sqlite)["ada"]
    assert (got.state, got.reason, got.step) == ("rolling-back", "cancelled by ana", turn.row.step)


def test_an_overdue_saga_keeps_its_deadline(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    row = logs.saga("ada", steps=1)
    signal = Signal(1, "ada", "onboarding", "overdue", "authorize", "authorizer", at(61), due_at=at(60))
    logs.write(SIGNALS, "ada", encode(signal), 61)
    logs.write(ROWS_CHANGELOG, "ada", encode(machine.mark_signal(row, signal)), 61.1)
    for order in (logs.records, logs.records[-1:]):
        on_sqlite.read(order)
        assert (rows(on_sqlite)["ada"].overdue, rows(on_sqlite)["ada"].due_at) == (True, at(60))
        on_sqlite.index.rebuild("test")
        on_sqlite.restart()


def test_what_cannot_be_read_disturbs_nothing(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    for topic in ("new-user", "authorize", "saga-signals", "dlq", "provisioner-sagas-changelog"):
        for value in (b"", b"\xff", b"{}", b'{"v":2}', b"null", b"[1]"):
            logs.write(topic, "ada", value, 0)
    logs.saga("ada", begin=1)
    on_sqlite.read(logs.records)
    assert on_sqlite.index.counts() == {"completed": 1}


def test_a_record_without_a_key_is_seen_too_and_starts_no_saga_anew(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    logs.saga("ada")
    on_sqlite.read(logs.records)
    on_sqlite.restart()
    keyless = [replace(raw, key=None) for raw in logs.records if raw.topic == "new-user"]
    assert on_sqlite.read(keyless).events == []
    other = FakeTopics()
    other.saga("bob", steps=0)
    on_sqlite.read([replace(raw, key=None) for raw in other.records])
    assert on_sqlite.index.counts() == {"completed": 1, "running": 1}


def test_what_no_step_would_work_on_is_no_saga() -> None:
    logs = FakeTopics()
    logs.write("authorize", "ghost", encode(Message(v=1, id="ghost", user=ADA)), 0)  # without a slip
    with TemporaryDirectory() as folder:
        reading = FilledIndex(f"sqlite:///{folder}/index.sqlite")
        reading.read(logs.records)
        assert rows(reading) == {}


@pytest.mark.field(2, 3)
@pytest.mark.parametrize("timestamp", [253_402_300_800_000, -1, 0, 2**63 - 1, -(2**63)])
def test_a_record_without_a_believable_time_is_read_as_of_now(on_sqlite: FilledIndex, timestamp: int) -> None:
    logs = FakeTopics(time())
    logs.saga("ada", steps=1)
    first = replace(logs.written[0], timestamp=timestamp)
    on_sqlite.read([first])
    assert abs(epoch(on_sqlite.fold.open["ada"].row.started_at) - time()) < 60


@pytest.mark.field(36)
@pytest.mark.parametrize("ahead", [-300.0, 300.0])
def test_a_running_saga_starts_when_the_provisioner_says(on_sqlite: FilledIndex, ahead: float) -> None:
    logs = FakeTopics(time() - 1000)
    logs.saga("ada", steps=2)
    for record in logs.written:
        record.timestamp += int(ahead * 1000)
        on_sqlite.read([record])
    row = on_sqlite.fold.open["ada"].row
    assert row.started_at == iso(logs.start)
    assert row.updated_at >= row.started_at


@pytest.mark.field(3)
def test_a_dead_letter_that_cannot_be_read_is_open_until_its_saga_goes_on(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    logs.saga("ada", steps=1)
    bad = logs.write("authorize", "ada", b"\xff", 3)
    letter = DeadLetter(1, bad.topic, bad.partition, bad.offset, "authorizer", "authorize", "BadMessage", "not JSON", 1,
                        *[iso(logs.start + 4)] * 2, "ada")  # fmt: skip
    logs.write(DLQ, "ada", b"\xff", 4, [(DEAD_LETTER, encode(letter))])
    on_sqlite.read(logs.written)
    assert on_sqlite.fold.open["ada"].row.state == "parked"
    assert on_sqlite.index.errors == 1
    more = FakeTopics()
    more.saga("ada")
    on_sqlite.read([again(record, record.offset + 10, 10) for record in more.written])
    assert on_sqlite.index.errors == 0
