"""How many sagas each saga overtook: those that started earlier and were not parked; live, and after a rebuild."""

from collections.abc import Callable
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.console.index.overtaking import Life, counts, pauses
from saga_app.saga.messages import Row, User, Visit
from saga_app.saga.states import State
from saga_app.saga.times import iso, utc
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics
from tests.unit.console.index_harness import IndexHarness

pytestmark = pytest.mark.field(39)


def park(topics: FakeTopics, id: str, begin: float, at: float) -> tuple[Row, FakeRecord]:
    """Write a saga that is parked at its second step; returns its row and its parked request."""
    row = topics.run_saga(id, begin=begin, steps=1, pace=0.5)
    request = [record for record in topics.records if record.topic == "authorize"][-1]
    topics.park(request, at)
    return row, request


def counts_in(harness: IndexHarness) -> dict[str, int | None]:
    """The counts in the index, by id, of the sagas that have ended."""
    with harness.index.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("select id, overtook from sagas where ended_at is not null").all()
    return {str(id): overtook for id, overtook in rows}


def test_parked_sagas_are_not_overtaken(sqlite_harness: IndexHarness, now: Callable[[str], None]) -> None:
    topics = FakeTopics()
    for number in range(300):
        if number % 10:
            topics.run_saga(f"s{number}", begin=number / 100, pace=0.1)
        else:
            park(topics, f"s{number}", number / 100, number / 100 + 1)
    sqlite_harness.read(topics.sorted_records)
    alone = FakeTopics()
    alone.run_saga("alone", begin=60, pace=0.1)
    sqlite_harness.read(alone.sorted_records)
    assert counts_in(sqlite_harness)["alone"] == 0
    now(f"overtook {counts_in(sqlite_harness)['alone']}")


def test_a_saga_is_overtaken_before_and_after_it_is_parked(sqlite_harness: IndexHarness) -> None:
    topics = FakeTopics()
    row, request = park(topics, "parked", 0, at=5)
    topics.run_saga("before", begin=1, pace=0.5)
    topics.run_saga("while-parked", begin=6, pace=0.5)
    topics.run_saga("later", begin=10, pace=0.5)
    topics.redrive(row, request, at=9, pace=5)
    sqlite_harness.read(topics.sorted_records)
    assert counts_in(sqlite_harness) == {"before": 1, "while-parked": 0, "later": 1, "parked": 0}


def test_parked_sagas_are_not_overtaken_after_a_restart(sqlite_harness: IndexHarness) -> None:
    topics, more = FakeTopics(), FakeTopics()
    park(topics, "parked", 0, at=5)
    topics.run_saga("under-way", begin=1, steps=1)
    sqlite_harness.read(topics.sorted_records)
    sqlite_harness.restart()
    more.run_saga("new", begin=10)
    sqlite_harness.read(more.sorted_records)
    assert counts_in(sqlite_harness) == {"new": 1}


KINDS = st.sampled_from(["runs", "parked", "redriven"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), KINDS, st.integers(1, 9)), min_size=1, max_size=12))
def test_a_rebuild_gives_the_same_counts_as_live_reading(lives: list[tuple[int, str, int]]) -> None:
    topics = FakeTopics()
    for number, (begin, kind, pace) in enumerate(lives):
        id, at = f"s{number}", begin + number / 64  # all at different times
        if kind == "runs":
            topics.run_saga(id, begin=at, pace=pace)
            continue
        row, request = park(topics, id, at, at + 2)
        if kind == "redriven":
            topics.redrive(row, request, at + 2 + pace, pace=1)
    with TemporaryDirectory() as folder:
        live, rebuilt = (
            IndexHarness(f"sqlite:///{folder}/{name}.sqlite", name == "live") for name in ("live", "rebuilt")
        )
        for raw in topics.sorted_records:
            live.read([raw])
        for topic in sorted({raw.topic for raw in topics.sorted_records}):
            rebuilt.read([raw for raw in topics.sorted_records if raw.topic == topic])
        rebuilt.finish_backlog()
        assert counts_in(rebuilt) == counts_in(live)
        live.close()
        rebuilt.close()


def test_counts_exclude_sagas_during_their_pauses() -> None:
    lives = [
        Life("slow", "1", "9"),
        Life("parked", "2", None, [("3", None)]),
        Life("paused", "2", "8", [("3", "6")]),
        Life("early", "2", "2"),
        Life("quick", "4", "5"),
        Life("late", "5", "7"),
    ]
    assert dict(counts(lives)) == {"early": 1, "quick": 1, "late": 2, "paused": 1, "slow": 0}


def test_a_pause_ends_with_the_next_request_to_a_step() -> None:
    ada = User("Ada", "ada@example.com", "Sales")

    def row(state: State, *received: int, ended_at: int | None = None) -> Row:
        visits = [
            Visit(
                step="notify",
                service="notifier",
                attempts=1,
                received_at=utc(at),
                started_at=utc(at),
                ended_at=utc(at),
                outcome="done",
            )
            for at in received
        ]
        return Row(
            v=1,
            id="ada",
            saga="onboarding",
            user=ada,
            state=state,
            step="notify",
            attempt=1,
            started_at=utc(1),
            updated_at=utc(7),
            ended_at=None if ended_at is None else utc(ended_at),
            history=visits,
        )

    three, four, five, six, seven = (iso(utc(second)) for second in (3, 4, 5, 6, 7))
    assert pauses(row("parked", 1, 2), [three]) == [(three, None)]
    assert pauses(row("running", 1), [three]) == [(three, seven)]
    assert pauses(row("completed", 1, 4, 6, ended_at=6), [five, three]) == [(three, four), (five, six)]
    assert pauses(row("rolled-back", 1, ended_at=4), [three]) == [(three, four)]
