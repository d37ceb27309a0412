"""Whatever strangers write to the topics, the console reads on, in every database."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from saga_app.active_plan import ROWS_CHANGELOG, TOPICS
from saga_app.saga.messages import encode
from saga_app.stream import partition_of
from tests.builders import START
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.fuzz.poison import poison
from tests.unit.console.filled_index import FilledIndex

MakeReading = Callable[..., FilledIndex]


def records(seed: int, count: int) -> list[FakeRecord]:
    """Poison as a consumer fetches it."""
    return [
        FakeRecord(
            each.topic,
            partition_of(each.key or b"", PARTITIONS) if each.partition is None else each.partition,
            offset,
            each.timestamp_ms or int(START * 1000),
            each.key,
            each.value,
            [(name, value) for name, value in each.headers],  # type: ignore[misc]  # null values are part of it
        )
        for offset, each in enumerate(poison(seed, count, PARTITIONS))
        if each.topic in TOPICS
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_console_reads_all_poison_without_a_fault(reading: MakeReading, seed: int) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("good")
    with capture_logs() as lines:
        for start in range(0, 1000, 100):
            made.read(records(seed, 1000)[start : start + 100])
        made.read(logs.records)
    faults = [(line["topic"], line["offset"]) for line in lines if line["log_level"] in ("error", "critical")]
    assert faults == []
    assert made.index.find(["good"]) == {"good": None}, "it has ended"


def test_a_fault_on_one_record_skips_only_that_record(on_sqlite: FilledIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = FakeTopics()
    logs.saga("bad")
    logs.saga("good")
    take = on_sqlite.fold._take

    def faulty(changes: object, record: object) -> None:
        if getattr(record, "id", None) == "bad":
            raise RuntimeError("a bug")
        take(changes, record)  # type: ignore[arg-type]

    monkeypatch.setattr(on_sqlite.fold, "_take", faulty)
    with capture_logs() as lines:
        on_sqlite.read(logs.records)
    assert set(on_sqlite.index.find(["good", "bad"])) == {"good"}
    assert {line["event"] for line in lines if line["log_level"] == "error"} == {"record skipped"}


@pytest.mark.parametrize("device", [{"a": 1}, [1], 2**60, True, "a\0b"])
def test_a_device_that_is_no_text_can_be_indexed(reading: MakeReading, device: object) -> None:
    made = reading()
    row = FakeTopics().saga("odd", steps=1)
    row.facts["device_id"] = device
    made.read([FakeRecord(ROWS_CHANGELOG, 0, 0, int(START * 1000), b"odd", encode(row))])
    assert made.index.counts() == {"running": 1}
