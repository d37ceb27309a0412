"""The end offsets of partitions: open transactions and recreated topics are detected."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition

from saga_app.console.kafka.ends import Ends
from saga_app.console.kafka.source import Stale

ONE, OTHER = TopicPartition("new-user", 0), TopicPartition("new-user", 1)


class FakeEndOffsets:
    """A consumer that only knows end offsets; the test sets `ends`."""

    def __init__(self) -> None:
        self.ends = {ONE: 0, OTHER: 0}

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: self.ends[place] for place in places}


class EndsHarness:
    """`Ends` with a fake consumer for each isolation level."""

    def __init__(self) -> None:
        self.committed, self.uncommitted = FakeEndOffsets(), FakeEndOffsets()
        self.ends = Ends("127.0.0.1:9")
        consumers: Any = [self.committed, self.uncommitted]
        self.ends._consumers = consumers

    async def refresh(self, stable: int, end: int) -> Stale | None:
        """Refresh with this last stable offset and this high watermark of partition `ONE`; `OTHER` is empty."""
        self.committed.ends[ONE], self.uncommitted.ends[ONE] = stable, end
        return await self.ends.refresh([ONE, OTHER])


@pytest.fixture
async def harness() -> EndsHarness:
    return EndsHarness()


@pytest.mark.field(35)
async def test_a_transaction_that_stays_open_is_reported(harness: EndsHarness) -> None:
    await harness.refresh(5, 8)
    assert harness.ends.blocked_by_transaction([ONE, OTHER]) is None, "a new transaction was reported"
    await harness.refresh(5, 9)
    assert harness.ends.blocked_by_transaction([ONE, OTHER]) == (
        "4 records wait for an open transaction, from new-user[0]@5 on: its producer has to commit or abort it"
    )
    assert harness.ends.blocked_by_transaction([OTHER]) is None
    await harness.refresh(10, 10)
    assert harness.ends.blocked_by_transaction([ONE, OTHER]) is None


@pytest.mark.field(35)
async def test_successive_short_transactions_are_not_reported(harness: EndsHarness) -> None:
    for stable in range(5):
        await harness.refresh(stable, stable + 3)
        assert harness.ends.blocked_by_transaction([ONE]) is None


@pytest.mark.field(34)
async def test_a_partition_with_a_lower_end_offset_was_created_again(harness: EndsHarness) -> None:
    assert await harness.refresh(40, 40) is None
    stale = await harness.refresh(3, 3)
    assert "new-user[0] has lost records or was created again: it ends at 3" in str(stale)
    assert await harness.refresh(4, 4) is None
