"""Who overtook how many: sagas that had started earlier and were moving; live, and after a rebuild of the index."""

from collections.abc import Callable
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.console.index.overtaking import Life, counts, pauses
from saga_app.saga.messages import Row, User, Visit
from tests.fakes.topics import FakeTopics
from tests.unit.console.filled_index import FilledIndex

pytestmark = pytest.mark.field(39)


def park(logs: FakeTopics, id: str, begin: float, at: float) -> tuple[Row, int]:
    """A saga that is parked at its second step; its row, and where its request stands in what was written."""
    row = logs.saga(id, begin=begin, steps=1, pace=0.5)
    place = max(n for n, raw in enumerate(logs.written) if raw.topic == "authorize")
    logs.park(logs.written[place], at)
    return row, place


def found(reading: FilledIndex) -> dict[str, int | None]:
    """What the index says of those that have ended."""
    with reading.index.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("select id, overtook from sagas where ended_at is not null").all()
    return {str(id): overtook for id, overtook in rows}


def test_one_alone_after_many_parked_ones_has_overtaken_nobody(
    on_sqlite: FilledIndex, now: Callable[[str], None]
) -> None:
    logs = FakeTopics()
    for number in range(300):
        if number % 10:
            logs.saga(f"s{number}", begin=number / 100, pace=0.1)
        else:
            park(logs, f"s{number}", number / 100, number / 100 + 1)
    on_sqlite.read(logs.records)
    alone = FakeTopics()
    alone.saga("alone", begin=60, pace=0.1)
    on_sqlite.read(alone.records)
    assert found(on_sqlite)["alone"] == 0
    now(f"overtook {found(on_sqlite)['alone']}")


def test_a_parked_saga_is_overtaken_before_it_is_parked_and_after_it_goes_on(on_sqlite: FilledIndex) -> None:
    logs = FakeTopics()
    row, place = park(logs, "parked", 0, at=5)
    logs.saga("before", begin=1, pace=0.5)
    logs.saga("meanwhile", begin=6, pace=0.5)
    logs.saga("later", begin=10, pace=0.5)
    logs.redrive(row, logs.written[place], at=9, pace=5)
    on_sqlite.read(logs.records)
    assert found(on_sqlite) == {"before": 1, "meanwhile": 0, "later": 1, "parked": 0}


def test_a_restart_knows_who_is_parked(on_sqlite: FilledIndex) -> None:
    logs, more = FakeTopics(), FakeTopics()
    park(logs, "parked", 0, at=5)
    logs.saga("under-way", begin=1, steps=1)
    on_sqlite.read(logs.records)
    on_sqlite.restart()
    more.saga("new", begin=10)
    on_sqlite.read(more.records)
    assert found(on_sqlite) == {"new": 1}


Kind = st.sampled_from(["runs", "parked", "redriven"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), Kind, st.integers(1, 9)), min_size=1, max_size=12))
def test_a_rebuild_counts_what_was_counted_live(lives: list[tuple[int, str, int]]) -> None:
    logs = FakeTopics()
    for number, (begin, kind, pace) in enumerate(lives):
        id, at = f"s{number}", begin + number / 64  # no two at the same moment
        if kind == "runs":
            logs.saga(id, begin=at, pace=pace)
            continue
        row, place = park(logs, id, at, at + 2)
        if kind == "redriven":
            logs.redrive(row, logs.written[place], at + 2 + pace, pace=1)
    with TemporaryDirectory() as folder:
        live, rebuilt = (
            FilledIndex(f"sqlite:///{folder}/{name}.sqlite", name == "live") for name in ("live", "rebuilt")
        )
        for raw in logs.records:
            live.read([raw])
        for topic in sorted({raw.topic for raw in logs.records}):
            rebuilt.read([raw for raw in logs.records if raw.topic == topic])
        rebuilt.settle()
        assert found(rebuilt) == found(live)
        live.close()
        rebuilt.close()


def test_those_that_stand_still_are_passed_over_in_the_sweep() -> None:
    lives = [
        Life("slow", "1", "9"),
        Life("parked", "2", None, [("3", None)]),
        Life("paused", "2", "8", [("3", "6")]),
        Life("early", "2", "2"),
        Life("quick", "4", "5"),
        Life("late", "5", "7"),
    ]
    assert dict(counts(lives)) == {"early": 1, "quick": 1, "late": 2, "paused": 1, "slow": 0}


def test_a_pause_ends_when_the_next_step_takes_up_a_request() -> None:
    ada = User("Ada", "ada@example.com", "Sales")

    def row(state: str, *received: str, ended_at: str | None = None) -> Row:
        visits = [Visit("notify", "notifier", 1, at, at, at, "done") for at in received]
        made = Row(1, "ada", "onboarding", ada, state, "notify", 1, "1", "7", history=visits)  # type: ignore[arg-type]
        made.ended_at = ended_at
        return made

    assert pauses(row("parked", "1", "2"), ["3"]) == [("3", None)]
    assert pauses(row("running", "1"), ["3"]) == [("3", "7")]
    assert pauses(row("completed", "1", "4", "6", ended_at="6"), ["5", "3"]) == [("3", "4"), ("5", "6")]
    assert pauses(row("rolled-back", "1", ended_at="4"), ["3"]) == [("3", "4")]
