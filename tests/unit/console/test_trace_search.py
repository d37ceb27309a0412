"""A saga's records are found by their key, also where the times of its row do not lead to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiokafka import TopicPartition

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.console.kafka import trace
from saga_app.console.kafka.trace import Search, missing
from saga_app.saga.messages import Row
from saga_app.stream import partition_of
from tests.fakes.consumer import FakeConsumer
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics

pytestmark = pytest.mark.field(44)

HOUR = 3600.0


@dataclass
class At:
    """Where a time begins."""

    offset: int


class Timed(FakeConsumer):
    """FakeConsumer that know the times of their records."""

    async def offsets_for_times(self, asked: Mapping[TopicPartition, int]) -> dict[TopicPartition, At | None]:
        return {place: self._from(place, at) for place, at in asked.items()}

    def _from(self, place: TopicPartition, at: int) -> At | None:
        return next((At(n) for n, raw in enumerate(self.held.get(place, ())) if raw.timestamp >= at), None)

    def assign(self, places: Sequence[TopicPartition]) -> None:
        super().assign(places)
        self.paused.clear()

    async def getmany(self, *places: TopicPartition, timeout_ms: int = 0, max_records: int = 100) -> Any:
        return await super().getmany(*places, timeout_ms=timeout_ms, max_records=max_records)


def kept(records: Sequence[FakeRecord], later_s: float = 0.0) -> Timed:
    """What topics hold that were written, or mirrored, so much later."""
    held: dict[TopicPartition, list[FakeRecord]] = {}
    for raw in records:
        moved = replace(raw, timestamp=raw.timestamp + int(later_s * 1000))
        held.setdefault(TopicPartition(raw.topic, raw.partition), []).append(moved)
    return Timed(held)


async def searched(consumer: Timed, row: Row) -> Search:
    """What is found of this saga."""
    search = Search(consumer, row, partition_of(row.id.encode(), PARTITIONS))  # type: ignore[arg-type]
    await search.by_time()
    return search


def written(*ids: str) -> tuple[FakeTopics, dict[str, Row]]:
    """Sagas that ran."""
    logs = FakeTopics()
    return logs, {id: logs.saga(id, begin=60.0 * number) for number, id in enumerate(ids)}


async def test_where_the_clocks_agree_only_the_time_of_the_saga_is_read() -> None:
    logs, rows = written(*(f"s{number}" for number in range(60)))
    search = await searched(kept(logs.written), rows["s30"])
    assert len(search.raws) == len([raw for raw in logs.written if raw.key == b"s30"])
    assert search.searched.missing == []
    assert search.searched.around_s == 10.0
    assert search.searched.records < 60


@pytest.mark.parametrize(
    ("later", "around"), [(30.0, 600.0), (-300.0, 600.0), (5 * HOUR, 86_400.0), (1000 * HOUR, None)]
)
async def test_records_far_from_the_times_of_their_row_are_found(
    later: float, around: float | None, now: Callable[[str], None]
) -> None:
    logs, rows = written("ada", "bob", "eve")
    search = await searched(kept(logs.written, later), rows["bob"])
    assert len(search.raws) == len([raw for raw in logs.written if raw.key == b"bob"])
    assert search.searched.missing == []
    assert search.searched.around_s == around
    now("found by key; the answer says what was searched")


async def test_what_is_not_there_is_named_with_what_was_searched() -> None:
    logs, rows = written("ada")
    search = await searched(kept([raw for raw in logs.written if raw.topic != "notify"]), rows["ada"])
    assert search.searched.missing == ["notify"]
    assert search.searched.around_s is None
    assert search.raws


async def test_a_search_that_costs_too_much_stops_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_RECORDS", 50)
    logs, rows = written(*(f"s{number}" for number in range(60)))
    search = await searched(kept(logs.written, 1000 * HOUR), rows["s30"])
    assert search.searched.around_s == 86_400.0
    assert search.searched.records <= 3 * 50
    assert ROWS_CHANGELOG in search.searched.missing


async def test_a_request_with_another_key_is_found_by_the_place_that_its_row_names() -> None:
    logs, rows = written("ada")
    first = logs.written[0]
    records = [replace(first, key=None), *logs.written[1:]]
    search = await searched(kept(records), replace(rows["ada"], origin=(first.partition, first.offset)))
    assert ("new-user", first.partition, first.offset) in search.raws


def test_a_step_that_was_cancelled_need_not_have_been_asked_for() -> None:
    row = FakeTopics().saga("ada", steps=1)
    visit = replace(row.history[0], step="authorize", outcome="cancelled")
    turned = replace(row, state="rolling-back", step="deprovision", history=[*row.history, visit])
    assert [*missing(turned, ())] == ["new-user", "deprovision"]
