"""What the watch makes of what it sees."""

from tests.chaos.progress_watch import Counted, StallDetector

PLACE = ("notifier", "notify", 3)


def longest(*looks: tuple[float, int, int]) -> float:
    still = StallDetector()
    for at, committed, end in looks:
        still.saw(at, {PLACE: committed}, {PLACE: end})
    return still.longest.seconds


def test_a_partition_stands_still_while_it_has_records_and_commits_none() -> None:
    assert longest((0, 0, 0), (1, 0, 5), (2, 0, 5), (3, 5, 5), (4, 5, 9)) == 2


def test_one_that_has_nothing_to_read_or_commits_something_does_not() -> None:
    assert longest((0, 5, 5), (100, 5, 5)) == 0
    assert longest((0, 0, 9), (1, 1, 9), (2, 2, 9), (3, 3, 9)) == 0


def test_a_time_without_answers_counts() -> None:
    assert longest((0, 0, 1), (30, 0, 1), (31, 1, 1)) == 30


def test_a_partition_of_which_nothing_was_ever_committed_counts_from_its_beginning() -> None:
    still = StallDetector()
    still.saw(0, {}, {PLACE: 3})
    still.saw(5, {}, {PLACE: 3})
    assert (still.longest.seconds, still.longest.place, still.lag) == (5, PLACE, 3)


def exposed(started: float, count: int) -> str:
    return f'process_start_time_seconds {started}\nsaga_duplicates_total{{topic="notify"}} {count}.0\n'


def test_what_a_process_has_counted_before_it_was_killed_is_not_forgotten() -> None:
    counted = Counted()
    for port, text in ((1, exposed(10, 3)), (1, exposed(10, 4)), (1, exposed(20, 2)), (2, exposed(10, 1))):
        counted.saw(port, text)
    assert counted.total("saga_duplicates_total") == 7
