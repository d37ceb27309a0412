"""Which requests are published again, and when."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.saga.messages import Effects, Waiting
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.times import epoch
from saga_app.service.memory.republisher import MAX_BATCH, Due, Schedule, republish
from tests.builders import START, at
from tests.unit.test_deadlines import Clock
from tests.unit.test_step import Sent

WAITING = Waiting(2, at(60), at(0), at(0), 1, '{"v":1}', [("x", "\xff"), ("empty", None)])


def row(id: str, **next_at: float) -> Effects:
    """A row in which these steps wait, each until so many seconds after the start."""
    return Effects(1, id, waiting={step: replace(WAITING, next_at=at(seconds)) for step, seconds in next_at.items()})


class Table:
    """A schedule, its clock, and the rows that it asks for."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.schedule = Schedule(self.clock)
        self.rows: dict[str, Effects] = {}
        self.asked: list[str] = []

    def write(self, row: Effects) -> None:
        self.rows[row.id] = row
        self.schedule.row_written(0, row)

    def due(self, second: float) -> list[tuple[str, str]]:
        self.clock.now = START + second
        return [(due.place[1], due.step) for due in self.schedule.take_due(self._row)]

    def _row(self, _partition: int, id: str) -> Effects:
        self.asked.append(id)
        return self.rows.get(id, Effects(1, id))


def test_a_request_is_due_at_its_time_and_once() -> None:
    table = Table()
    table.write(row("ada", notify=60))
    assert (table.due(59.9), table.due(60), table.due(1e6)) == ([], [("ada", "notify")], [])
    assert len(table.schedule.due_at) == 1, "it still waits, until its row says otherwise"


def test_a_row_that_is_written_while_its_attempt_is_made_publishes_nothing_again() -> None:
    table = Table()
    table.write(row("ada", notify=60))
    assert table.due(60) == [("ada", "notify")]
    table.write(replace(row("ada", notify=60), begun=["notify"]))
    assert table.due(1e6) == []


def test_a_request_that_waits_once_more_is_due_again() -> None:
    table = Table()
    table.write(row("ada", notify=60))
    assert table.due(60) == [("ada", "notify")]
    table.write(row("ada", notify=300))
    assert (table.due(299), table.due(300)) == ([], [("ada", "notify")])


def test_a_request_that_does_not_wait_any_more_is_not_published() -> None:
    table = Table()
    table.write(row("ada", notify=60))
    table.write(row("ada"))
    assert (table.due(1e6), table.schedule.due_at, table.schedule.next_at) == ([], {}, None)


def test_a_row_of_a_partition_that_is_another_workers_by_now_is_forgotten() -> None:
    table = Table()
    table.write(row("ada", notify=60))
    table.rows.clear()
    assert (table.due(60), table.schedule.due_at) == ([], {})


def test_two_requests_of_one_saga_are_due_each_at_its_time() -> None:
    table = Table()
    table.write(row("ada", notify=60, retract=300))
    assert (table.due(60), table.due(299)) == ([("ada", "notify")], [])
    assert ("ada", "retract") in table.due(300)


def test_what_was_not_acknowledged_is_due_again() -> None:
    table = Table()
    table.write(row("ada", notify=60))
    assert table.due(60) == [("ada", "notify")]
    table.schedule.watch((0, "ada"), START + 70)
    assert (table.due(69), table.due(70)) == ([], [("ada", "notify")])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.floats(0, 200)), max_size=60), st.floats(0, 300))
def test_the_schedule_finds_just_what_a_look_at_every_row_would_find(
    writes: list[tuple[int, float | None]], now: float
) -> None:
    table = Table()
    for number, seconds in writes:
        table.write(row(f"u{number}", **({} if seconds is None else {"notify": seconds})))
    found = {id for id, _ in table.due(now)}
    due = {id for id, row in table.rows.items() for w in row.waiting.values() if epoch(w.next_at) <= START + now}
    assert found == due


@pytest.mark.field(11)
def test_of_ten_thousand_requests_only_those_that_are_due_are_looked_at() -> None:
    table = Table()
    for number in range(10_000):
        table.write(row(f"u{number}", notify=100 + number))
    assert len(table.due(109)) == 10
    assert len(table.asked) == 10
    assert len(table.due(1e6)) == MAX_BATCH, "the rest after a turn of the loop"


def test_a_request_goes_to_its_own_topic_under_its_sagas_key_with_the_attempt_that_is_due() -> None:
    sent = Sent()
    republish(ONBOARDING, sent, Due((3, "ada"), "notify", WAITING))
    republish(ONBOARDING, sent, Due((3, "ada"), "a step of another release", WAITING))
    assert sent.messages == [("notify", b"ada", b'{"v":1}', [("x", b"\xff"), ("empty", None), ("retry-attempt", b"2")])]
