"""The schedule of waiting requests, and how they are published again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.saga.codec import replace_fields
from saga_app.saga.messages import Effects, Waiting
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.memory.republisher import MAX_BATCH, Due, Schedule, republish
from tests.builders import START, at
from tests.fakes.clock import FakeClock
from tests.unit.step_harness import SentMessages

WAITING_REQUEST = Waiting(
    attempt=2,
    next_at=at(60),
    received_at=at(0),
    started_at=at(0),
    request_attempt=1,
    value='{"v":1}',
    headers=[("x", "\xff"), ("empty", None)],
)


def row(id: str, **next_at: float) -> Effects:
    """An effects row in which requests to these steps wait, each until this many seconds after `START`."""
    return Effects(
        v=1,
        id=id,
        waiting={step: replace_fields(WAITING_REQUEST, next_at=at(seconds)) for step, seconds in next_at.items()},
    )


class ScheduleTable:
    """Effects rows, the schedule computed from them, and the clock. `rows_read`: the ids of the rows read so far."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.schedule = Schedule(self.clock)
        self.rows: dict[str, Effects] = {}
        self.rows_read: list[str] = []

    def write(self, row: Effects) -> None:
        self.rows[row.id] = row
        self.schedule.row_written(0, row)

    def take_due(self, second: float) -> list[tuple[str, str]]:
        """Saga id and step of each request that is due in this second."""
        self.clock.now = START + second
        return [(due.place[1], due.step) for due in self.schedule.take_due(self._row)]

    def _row(self, _partition: int, id: str) -> Effects:
        self.rows_read.append(id)
        return self.rows.get(id, Effects(1, id))


def test_a_request_is_due_once_at_its_time() -> None:
    table = ScheduleTable()
    table.write(row("ada", notify=60))
    assert (table.take_due(59.9), table.take_due(60), table.take_due(1e6)) == ([], [("ada", "notify")], [])
    assert len(table.schedule.due_at) == 1, "the request was removed before its row was written"


def test_a_row_written_during_the_attempt_publishes_nothing_again() -> None:
    table = ScheduleTable()
    table.write(row("ada", notify=60))
    assert table.take_due(60) == [("ada", "notify")]
    table.write(replace_fields(row("ada", notify=60), begun=["notify"]))
    assert table.take_due(1e6) == []


def test_a_request_that_is_delayed_again_is_due_again() -> None:
    table = ScheduleTable()
    table.write(row("ada", notify=60))
    assert table.take_due(60) == [("ada", "notify")]
    table.write(row("ada", notify=300))
    assert (table.take_due(299), table.take_due(300)) == ([], [("ada", "notify")])


def test_a_request_without_an_entry_is_not_published() -> None:
    table = ScheduleTable()
    table.write(row("ada", notify=60))
    table.write(row("ada"))
    assert (table.take_due(1e6), table.schedule.due_at, table.schedule.next_at) == ([], {}, None)


def test_requests_of_revoked_partitions_are_dropped() -> None:
    table = ScheduleTable()
    table.write(row("ada", notify=60))
    table.rows.clear()
    assert (table.take_due(60), table.schedule.due_at) == ([], {})


def test_two_requests_of_one_saga_are_due_at_their_own_times() -> None:
    table = ScheduleTable()
    table.write(row("ada", notify=60, retract=300))
    assert (table.take_due(60), table.take_due(299)) == ([("ada", "notify")], [])
    assert ("ada", "retract") in table.take_due(300)


def test_an_unacknowledged_request_is_due_again() -> None:
    table = ScheduleTable()
    table.write(row("ada", notify=60))
    assert table.take_due(60) == [("ada", "notify")]
    table.schedule.watch((0, "ada"), START + 70)
    assert (table.take_due(69), table.take_due(70)) == ([], [("ada", "notify")])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.floats(0, 200)), max_size=60), st.floats(0, 300))
def test_take_due_finds_the_same_requests_as_a_scan_of_all_rows(
    writes: list[tuple[int, float | None]], now: float
) -> None:
    table = ScheduleTable()
    for number, seconds in writes:
        table.write(row(f"u{number}", **({} if seconds is None else {"notify": seconds})))
    found = {id for id, _ in table.take_due(now)}
    due = {id for id, row in table.rows.items() for w in row.waiting.values() if w.next_at.timestamp() <= START + now}
    assert found == due


@pytest.mark.field(11)
def test_of_ten_thousand_waiting_requests_only_due_rows_are_read() -> None:
    table = ScheduleTable()
    for number in range(10_000):
        table.write(row(f"u{number}", notify=100 + number))
    assert len(table.take_due(109)) == 10
    assert len(table.rows_read) == 10
    assert len(table.take_due(1e6)) == MAX_BATCH, "a batch is not limited"


def test_a_request_is_republished_to_its_topic_with_the_attempt_number() -> None:
    sent = SentMessages()
    republish(ONBOARDING, sent, Due((3, "ada"), "notify", WAITING_REQUEST))
    republish(ONBOARDING, sent, Due((3, "ada"), "unknown-step", WAITING_REQUEST))
    assert sent.messages == [("notify", b"ada", b'{"v":1}', [("x", b"\xff"), ("empty", None), ("retry-attempt", b"2")])]
