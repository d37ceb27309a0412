"""A trace reads only the minutes in which its saga was written about, however long the saga waited."""

from dataclasses import replace

from saga_app.console.kafka.positions import SLACK_S, whole, windows
from saga_app.saga.times import iso
from tests.builders import START
from tests.fakes.topics import FakeTopics

DAY = 86_400.0


def test_a_quick_saga_is_one_window_from_its_start_to_its_end() -> None:
    row = FakeTopics().saga("ada")
    assert windows(row) == whole(row) == [(START - SLACK_S, START + 4 + SLACK_S)]


def test_of_a_saga_that_waited_for_days_only_the_moments_of_its_steps_are_read() -> None:
    row = FakeTopics().saga("ada", pace=DAY)
    found = windows(row)
    assert len(found) == 5
    assert sum((end or 0) - begin for begin, end in found) == 5 * 2 * SLACK_S
    assert all(begin < START + n * DAY < (end or 0) for n, (begin, end) in enumerate(found))


def test_a_saga_that_is_stuck_is_read_around_its_last_news_and_its_signals_until_now() -> None:
    row = replace(FakeTopics().saga("ada", steps=1), updated_at=iso(START + DAY))
    assert [begin + SLACK_S for begin, _ in windows(row)] == [START, START + DAY]
    assert whole(row) == [(START - SLACK_S, None)]


def test_a_saga_that_was_redriven_days_later_is_read_then_too() -> None:
    row = FakeTopics().saga("ada")
    redriven = [START + 2 * DAY, START + 9 * DAY]
    assert windows(row, redriven) == [
        (START - SLACK_S, START + 4 + SLACK_S),
        *((moment - SLACK_S, moment + SLACK_S) for moment in redriven),
    ]
