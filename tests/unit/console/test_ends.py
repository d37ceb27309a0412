"""Where partitions end, by what can be read of them and by what the log holds."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition

from saga_app.console.kafka.ends import Ends

ONE, OTHER = TopicPartition("new-user", 0), TopicPartition("new-user", 1)


class Log:
    """As much of a consumer as is asked for the ends."""

    def __init__(self) -> None:
        self.ends = {ONE: 0, OTHER: 0}

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: self.ends[place] for place in places}


class Look:
    """`readable` and `logs` are set by the test, and asked for by `now`."""

    def __init__(self) -> None:
        self.readable, self.logs = Log(), Log()
        self.ends = Ends("127.0.0.1:9")
        consumers: Any = [self.readable, self.logs]
        self.ends._consumers = consumers

    async def now(self, readable: int, log: int) -> Any:
        self.readable.ends[ONE], self.logs.ends[ONE] = readable, log
        return await self.ends.refresh([ONE, OTHER])


@pytest.fixture
async def look() -> Look:
    return Look()


@pytest.mark.field(35)
async def test_a_transaction_that_is_under_way_is_not_reported_and_one_that_is_left_open_is(look: Look) -> None:
    await look.now(5, 8)
    assert look.ends.blocked_by_transaction([ONE, OTHER]) is None, "it may be committed in a moment"
    await look.now(5, 9)
    assert look.ends.blocked_by_transaction([ONE, OTHER]) == (
        "4 records wait for an open transaction, from new-user[0]@5 on: its producer has to commit or abort it"
    )
    assert look.ends.blocked_by_transaction([OTHER]) is None
    await look.now(10, 10)
    assert look.ends.blocked_by_transaction([ONE, OTHER]) is None


@pytest.mark.field(35)
async def test_a_partition_that_goes_on_is_no_open_transaction(look: Look) -> None:
    for readable in range(5):
        await look.now(readable, readable + 3)
        assert look.ends.blocked_by_transaction([ONE]) is None


@pytest.mark.field(34)
async def test_a_partition_that_ends_before_where_it_ended_was_created_again(look: Look) -> None:
    assert await look.now(40, 40) is None
    stale = await look.now(3, 3)
    assert "new-user[0] has lost records or was created again: it ends at 3" in str(stale)
    assert await look.now(4, 4) is None
