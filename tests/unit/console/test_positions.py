"""A trace searches only the minutes in which the records of its saga were written, however long the saga waited."""

from saga_app.console.kafka.positions import SLACK_S, whole, windows
from saga_app.saga.codec import replace_fields
from saga_app.saga.times import utc
from tests.builders import START
from tests.fakes.topics import FakeTopics

DAY_S = 86_400.0


def test_a_short_saga_is_one_window_from_its_start_to_its_end() -> None:
    row = FakeTopics().run_saga("ada")
    assert windows(row) == whole(row) == [(START - SLACK_S, START + 4 + SLACK_S)]


def test_a_saga_of_several_days_has_a_window_around_each_step() -> None:
    row = FakeTopics().run_saga("ada", pace=DAY_S)
    found = windows(row)
    assert len(found) == 5
    assert sum((end or 0) - begin for begin, end in found) == 5 * 2 * SLACK_S
    assert all(begin < START + n * DAY_S < (end or 0) for n, (begin, end) in enumerate(found))


def test_an_unfinished_saga_has_a_window_around_its_last_update() -> None:
    row = replace_fields(FakeTopics().run_saga("ada", steps=1), updated_at=utc(START + DAY_S))
    assert [begin + SLACK_S for begin, _ in windows(row)] == [START, START + DAY_S]
    assert whole(row) == [(START - SLACK_S, None)]


def test_a_redrive_days_later_adds_a_window() -> None:
    row = FakeTopics().run_saga("ada")
    redriven = [START + 2 * DAY_S, START + 9 * DAY_S]
    assert windows(row, redriven) == [
        (START - SLACK_S, START + 4 + SLACK_S),
        *((moment - SLACK_S, moment + SLACK_S) for moment in redriven),
    ]
