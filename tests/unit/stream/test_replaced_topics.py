"""The records that were read of a deleted and recreated topic are reported as lost, once."""

from collections.abc import AsyncIterator

import pytest
from faust.types import TP

from saga_app.stream.consume.fetcher import Fetcher, Loss

pytestmark = pytest.mark.field(34)


@pytest.fixture
def losses() -> list[Loss]:
    """The losses that `fetcher` has reported."""
    return []


@pytest.fixture
async def fetcher(losses: list[Loss]) -> AsyncIterator[Fetcher]:
    """A fetcher that has read two partitions of `notify` and one of `revoke`."""
    fetcher = Fetcher("127.0.0.1:9", 100, on_loss=losses.append)
    fetcher._reached = {TP("notify", 0): 5, TP("notify", 1): 3, TP("revoke", 0): 9}
    yield fetcher
    await fetcher.close()


async def test_the_read_partitions_of_a_replaced_topic_are_reported_once(fetcher: Fetcher, losses: list[Loss]) -> None:
    fetcher.report_replaced({"notify"})
    assert losses == [Loss(TP("notify", 0), 5, None), Loss(TP("notify", 1), 3, None)]
    fetcher.report_replaced({"notify"})
    assert len(losses) == 2


async def test_a_partition_already_reported_by_position_is_not_reported_again(
    fetcher: Fetcher, losses: list[Loss]
) -> None:
    fetcher._restarted = {TP("notify", 0)}
    fetcher.report_replaced({"notify"})
    assert losses == [Loss(TP("notify", 1), 3, None)]
