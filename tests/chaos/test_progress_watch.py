"""Stalls of partitions and totals of counters, computed from samples."""

from tests.chaos.progress_watch import CounterTotals, StallDetector

PLACE = ("notifier", "notify", 3)


def longest_stall_s(*samples: tuple[float, int, int]) -> float:
    """The longest stall in seconds, from samples of time, committed offset and end offset."""
    detector = StallDetector()
    for at, committed, end in samples:
        detector.add_sample(at, {PLACE: committed}, {PLACE: end})
    return detector.longest.seconds


def test_a_partition_stalls_while_it_has_records_and_commits_none() -> None:
    assert longest_stall_s((0, 0, 0), (1, 0, 5), (2, 0, 5), (3, 5, 5), (4, 5, 9)) == 2


def test_a_partition_that_is_empty_or_advances_does_not_stall() -> None:
    assert longest_stall_s((0, 5, 5), (100, 5, 5)) == 0
    assert longest_stall_s((0, 0, 9), (1, 1, 9), (2, 2, 9), (3, 3, 9)) == 0


def test_a_stall_includes_a_time_without_samples() -> None:
    assert longest_stall_s((0, 0, 1), (30, 0, 1), (31, 1, 1)) == 30


def test_a_partition_without_a_committed_offset_stalls_from_its_start() -> None:
    detector = StallDetector()
    detector.add_sample(0, {}, {PLACE: 3})
    detector.add_sample(5, {}, {PLACE: 3})
    assert (detector.longest.seconds, detector.longest.place, detector.lag) == (5, PLACE, 3)


def exposition(started: float, count: int) -> str:
    """The text of `/metrics`."""
    return f'process_start_time_seconds {started}\nsaga_duplicates_total{{topic="notify"}} {count}.0\n'


def test_counters_are_summed_over_restarted_processes() -> None:
    counters = CounterTotals()
    samples = ((1, exposition(10, 3)), (1, exposition(10, 4)), (1, exposition(20, 2)), (2, exposition(10, 1)))
    for port, text in samples:
        counters.add_sample(port, text)
    assert counters.total("saga_duplicates_total") == 7
