"""What stands in the topics at the start is read in the order of time; from then on whatever comes."""

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


def many_sagas() -> dict[TopicPartition, list[FakeRecord]]:
    """Their records, by partition."""
    logs = FakeTopics()
    for number in range(900):
        logs.saga(f"s{number}", begin=number / 10, pace=0.05)
    held: defaultdict[TopicPartition, list[FakeRecord]] = defaultdict(list)
    for raw in logs.records:
        held[TopicPartition(raw.topic, raw.partition)].append(raw)
    return held


async def started(held: dict[TopicPartition, list[FakeRecord]], offsets: dict[tuple[str, int], int]) -> Source:
    """A source of these records."""
    source = Source("127.0.0.1:9", PARTITIONS, embedded=False)
    consumer: Any = FakeConsumer(held)
    source.consumer = consumer
    source.tuner = Mock(FetchTuner)
    await source.start_at(offsets)
    return source


async def test_while_catching_up_most_sagas_are_read_from_their_beginning_to_their_end() -> None:
    held = many_sagas()
    source = await started(held, {})
    seen: list[FakeRecord] = []
    while source.missing:
        records, _ = await source.read(0.0, 1000)
        assert 0 < len(records) < 1000 + RECORDS_PER_TURN
        seen += records
    assert len(seen) == sum(map(len, held.values()))
    ahead, latest = 0, 0
    for raw in seen:
        latest = max(latest, raw.timestamp)
        ahead = max(ahead, latest - raw.timestamp)
    assert ahead < 30_000  # of 90 s, of which a run of the topic with the fewest records covers 15


async def test_very_much_begins_with_the_changelog(monkeypatch: pytest.MonkeyPatch) -> None:
    held = many_sagas()
    total = sum(map(len, held.values()))
    for most, first in ((total, False), (total - 1, True)):
        monkeypatch.setattr("saga_app.console.kafka.source.BULK_THRESHOLD", most)
        source = await started(held, {})
        assert source.bulk is first
        topics: list[str] = []
        while source.missing:
            topics += [raw.topic for raw in (await source.read(0.0, 1000))[0]]
        assert len(topics) == total
        rows = topics.count(ROWS_CHANGELOG)
        assert (topics[:rows] == [ROWS_CHANGELOG] * rows) is first


async def test_what_has_been_read_before_the_start_is_not_read_again_and_what_comes_later_is() -> None:
    held = many_sagas()
    read = {(place.topic, place.partition): len(run) for place, run in held.items()}
    last = TopicPartition(*max(read, key=lambda place: read[place]))
    read[last] -= 1
    source = await started(held, read)
    records, after = await source.read(0.0, 1000)
    assert (records, after) == (held[last][-1:], {tuple(last): read[last] + 1})
    assert not source.missing
    late = FakeTopics().write("dlq", "ada", b"{}", 100)
    held[TopicPartition(late.topic, late.partition)] = [late]
    assert await source.read(0.0, 1000) == ([late], {("dlq", late.partition): 1})


@pytest.mark.field(34)
async def test_who_waits_for_topics_leaves_no_consumers_behind(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        source = Source("127.0.0.1:9", PARTITIONS, embedded=False)
        with pytest.raises(KafkaError):
            await source.__aenter__()
    gc.collect()
    assert "Unclosed" not in caplog.text
