"""The records of a saga are found by their key, even if they are far from the times in its row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from aiokafka import TopicPartition

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.console.kafka import trace
from saga_app.console.kafka.trace import Search, missing
from saga_app.saga.codec import replace_fields
from saga_app.saga.messages import Row
from saga_app.stream import partition_of
from tests.fakes.consumer import FakeConsumer
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics

pytestmark = pytest.mark.field(44)

HOUR_S = 3600.0


@dataclass
class OffsetAtTime:
    """The offset of the first record at or after a time, as aiokafka returns it."""

    offset: int


class SeekableConsumer(FakeConsumer):
    """A consumer that can also find offsets by time."""

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAtTime | None]:
        return {place: self._first_at(place, at) for place, at in times.items()}

    def _first_at(self, place: TopicPartition, at: int) -> OffsetAtTime | None:
        return next((OffsetAtTime(n) for n, raw in enumerate(self.stored.get(place, ())) if raw.timestamp >= at), None)

    def assign(self, places: Sequence[TopicPartition]) -> None:
        super().assign(places)
        self.paused.clear()


def consumer_of(records: Sequence[FakeRecord], delay_s: float = 0.0) -> SeekableConsumer:
    """A consumer of topics to which these records were written, or mirrored, with a delay."""
    stored: dict[TopicPartition, list[FakeRecord]] = {}
    for raw in records:
        moved = replace(raw, timestamp=raw.timestamp + int(delay_s * 1000))
        stored.setdefault(TopicPartition(raw.topic, raw.partition), []).append(moved)
    return SeekableConsumer(stored)


async def search_by_time(consumer: SeekableConsumer, row: Row) -> Search:
    """A finished search for the saga with this row."""
    search = Search(consumer, row, partition_of(row.id.encode(), PARTITIONS))
    await search.by_time()
    return search


def run_sagas(*ids: str) -> tuple[FakeTopics, dict[str, Row]]:
    """Topics with completed sagas, one a minute, and the rows of the sagas."""
    topics = FakeTopics()
    return topics, {id: topics.run_saga(id, begin=60.0 * number) for number, id in enumerate(ids)}


async def test_with_accurate_clocks_only_the_time_of_the_saga_is_read() -> None:
    topics, rows = run_sagas(*(f"s{number}" for number in range(60)))
    search = await search_by_time(consumer_of(topics.records), rows["s30"])
    assert len(search.raws) == len([raw for raw in topics.records if raw.key == b"s30"])
    assert search.searched.missing == []
    assert search.searched.around_s == 10.0
    assert search.searched.records < 60


@pytest.mark.parametrize(
    ("delay_s", "around_s"), [(30.0, 600.0), (-300.0, 600.0), (5 * HOUR_S, 86_400.0), (1000 * HOUR_S, None)]
)
async def test_records_far_from_the_times_of_their_row_are_found(
    delay_s: float, around_s: float | None, now: Callable[[str], None]
) -> None:
    topics, rows = run_sagas("ada", "bob", "eve")
    search = await search_by_time(consumer_of(topics.records, delay_s), rows["bob"])
    assert len(search.raws) == len([raw for raw in topics.records if raw.key == b"bob"])
    assert search.searched.missing == []
    assert search.searched.around_s == around_s
    now("found by key; the answer says what was searched")


async def test_a_missing_record_is_reported_with_the_extent_of_the_search() -> None:
    topics, rows = run_sagas("ada")
    search = await search_by_time(consumer_of([raw for raw in topics.records if raw.topic != "notify"]), rows["ada"])
    assert search.searched.missing == ["notify"]
    assert search.searched.around_s is None
    assert search.raws


async def test_a_search_with_too_many_records_stops_and_reports_its_extent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_RECORDS", 50)
    topics, rows = run_sagas(*(f"s{number}" for number in range(60)))
    search = await search_by_time(consumer_of(topics.records, 1000 * HOUR_S), rows["s30"])
    assert search.searched.around_s == 86_400.0
    assert search.searched.records <= 3 * 50
    assert ROWS_CHANGELOG in search.searched.missing


async def test_a_request_with_another_key_is_found_by_the_position_in_the_row() -> None:
    topics, rows = run_sagas("ada")
    first = topics.records[0]
    records = [replace(first, key=None), *topics.records[1:]]
    search = await search_by_time(
        consumer_of(records), replace_fields(rows["ada"], origin=(first.partition, first.offset))
    )
    assert ("new-user", first.partition, first.offset) in search.raws


def test_a_cancelled_step_does_not_need_a_request() -> None:
    row = FakeTopics().run_saga("ada", steps=1)
    visit = replace_fields(row.history[0], step="authorize", outcome="cancelled")
    cancelled = replace_fields(row, state="rolling-back", step="deprovision", history=[*row.history, visit])
    assert [*missing(cancelled, ())] == ["new-user", "deprovision"]
