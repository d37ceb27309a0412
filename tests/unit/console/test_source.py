"""The source reads the backlog approximately in the order of time, and then new records as they arrive."""

import gc
from collections import defaultdict
from typing import Any
from unittest.mock import Mock

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.console.kafka.fetch_tuning import FetchTuner
from saga_app.console.kafka.source import RECORDS_PER_TURN, Source
from tests.fakes.consumer import FakeConsumer
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics


def records_of_many_sagas() -> dict[TopicPartition, list[FakeRecord]]:
    """The records of 900 sagas that start within 90 s, by partition."""
    topics = FakeTopics()
    for number in range(900):
        topics.run_saga(f"s{number}", begin=number / 10, pace=0.05)
    stored: defaultdict[TopicPartition, list[FakeRecord]] = defaultdict(list)
    for raw in topics.sorted_records:
        stored[TopicPartition(raw.topic, raw.partition)].append(raw)
    return stored


async def start_source(stored: dict[TopicPartition, list[FakeRecord]], offsets: dict[tuple[str, int], int]) -> Source:
    """A source of these records that has been started at these offsets."""
    source = Source("127.0.0.1:9", PARTITIONS, embedded=False)
    consumer: Any = FakeConsumer(stored)
    source.consumer = consumer
    source.tuner = Mock(FetchTuner)
    await source.start_at(offsets)
    return source


async def test_the_backlog_is_read_approximately_in_the_order_of_time() -> None:
    stored = records_of_many_sagas()
    source = await start_source(stored, {})
    seen: list[FakeRecord] = []
    while source.missing:
        records, _ = await source.read(0.0, 1000)
        assert 0 < len(records) < 1000 + RECORDS_PER_TURN
        seen += records
    assert len(seen) == sum(map(len, stored.values()))
    ahead, latest = 0, 0
    for raw in seen:
        latest = max(latest, raw.timestamp)
        ahead = max(ahead, latest - raw.timestamp)
    assert ahead < 30_000  # 90 s in total; 50 records of the topic with the fewest records span 15 s


async def test_a_large_backlog_is_read_from_the_changelog_first(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = records_of_many_sagas()
    total = sum(map(len, stored.values()))
    for threshold, changelog_first in ((total, False), (total - 1, True)):
        monkeypatch.setattr("saga_app.console.kafka.source.BULK_THRESHOLD", threshold)
        source = await start_source(stored, {})
        assert source.bulk is changelog_first
        read_topics: list[str] = []
        while source.missing:
            read_topics += [raw.topic for raw in (await source.read(0.0, 1000))[0]]
        assert len(read_topics) == total
        rows = read_topics.count(ROWS_CHANGELOG)
        assert (read_topics[:rows] == [ROWS_CHANGELOG] * rows) is changelog_first


async def test_reading_resumes_at_offsets_and_continues_after_the_backlog() -> None:
    stored = records_of_many_sagas()
    offsets = {(place.topic, place.partition): len(run) for place, run in stored.items()}
    last = TopicPartition(*max(offsets, key=lambda place: offsets[place]))
    offsets[last] -= 1
    source = await start_source(stored, offsets)
    records, after = await source.read(0.0, 1000)
    assert (records, after) == (stored[last][-1:], {tuple(last): offsets[last] + 1})
    assert not source.missing
    late = FakeTopics().write("dlq", "ada", b"{}", 100)
    stored[TopicPartition(late.topic, late.partition)] = [late]
    assert await source.read(0.0, 1000) == ([late], {("dlq", late.partition): 1})


@pytest.mark.field(34)
async def test_a_source_without_a_broker_leaves_no_open_consumers(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        source = Source("127.0.0.1:9", PARTITIONS, embedded=False)
        with pytest.raises(KafkaError):
            await source.__aenter__()
    gc.collect()
    assert "Unclosed" not in caplog.text
