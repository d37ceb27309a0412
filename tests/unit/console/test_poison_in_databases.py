"""The console keeps reading, with every database, when other programs write invalid records to the topics."""

import pytest
from structlog.testing import capture_logs

from saga_app.active_plan import ROWS_CHANGELOG, TOPICS
from saga_app.saga.codec import encode
from saga_app.stream import partition_of
from tests.builders import START
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.fuzz.poison import poison
from tests.unit.console.index_harness import IndexHarness


def records(seed: int, count: int) -> list[FakeRecord]:
    """Invalid records as a consumer returns them, at consecutive offsets. See `tests.fuzz.poison`."""
    return [
        FakeRecord(
            each.topic,
            partition_of(each.key or b"", PARTITIONS) if each.partition is None else each.partition,
            offset,
            each.timestamp_ms or int(START * 1000),
            each.key,
            each.value,
            list(each.headers),
        )
        for offset, each in enumerate(poison(seed, count, PARTITIONS))
        if each.topic in TOPICS
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_console_reads_invalid_records_without_an_error(harness: IndexHarness, seed: int) -> None:
    topics = FakeTopics()
    topics.run_saga("good")
    with capture_logs() as lines:
        for start in range(0, 1000, 100):
            harness.read(records(seed, 1000)[start : start + 100])
        harness.read(topics.sorted_records)
    errors = [(line["topic"], line["offset"]) for line in lines if line["log_level"] in ("error", "critical")]
    assert errors == []
    assert harness.index.find(["good"]) == {"good": None}, "the saga has not ended"


def test_an_error_in_one_record_skips_only_that_record(
    sqlite_harness: IndexHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = FakeTopics()
    topics.run_saga("bad")
    topics.run_saga("good")
    original = sqlite_harness.fold._take

    def take(changes: object, record: object) -> None:
        if getattr(record, "id", None) == "bad":
            raise RuntimeError("a bug")
        original(changes, record)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_harness.fold, "_take", take)
    with capture_logs() as lines:
        sqlite_harness.read(topics.sorted_records)
    assert set(sqlite_harness.index.find(["good", "bad"])) == {"good"}
    assert {line["event"] for line in lines if line["log_level"] == "error"} == {"record skipped"}


@pytest.mark.parametrize("device", [{"a": 1}, [1], 2**60, True, "a\0b"])
def test_a_device_id_that_is_not_text_can_be_indexed(harness: IndexHarness, device: object) -> None:
    row = FakeTopics().run_saga("odd", steps=1)
    row.facts["device_id"] = device
    harness.read([FakeRecord(ROWS_CHANGELOG, 0, 0, int(START * 1000), b"odd", encode(row))])
    assert harness.index.counts() == {"running": 1}
