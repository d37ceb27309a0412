"""A topic was created again: what was read of the old one is reported as lost, once."""

from collections.abc import AsyncIterator

import pytest
from faust.types import TP

from saga_app.stream.consume.fetcher import Fetcher, Loss

pytestmark = pytest.mark.field(34)


@pytest.fixture
def losses() -> list[Loss]:
    return []


@pytest.fixture
async def fetcher(losses: list[Loss]) -> AsyncIterator[Fetcher]:
    """It has read two partitions of one topic and one of another."""
    made = Fetcher("127.0.0.1:9", 100, on_loss=losses.append)
    made._reached = {TP("notify", 0): 5, TP("notify", 1): 3, TP("revoke", 0): 9}
    yield made
    await made.close()


async def test_what_was_read_of_a_replaced_topic_is_reported_once(fetcher: Fetcher, losses: list[Loss]) -> None:
    fetcher.report_replaced({"notify"})
    assert losses == [Loss(TP("notify", 0), 5, None), Loss(TP("notify", 1), 3, None)]
    fetcher.report_replaced({"notify"})
    assert len(losses) == 2


async def test_a_partition_that_was_reported_by_its_position_is_not_reported_again(
    fetcher: Fetcher, losses: list[Loss]
) -> None:
    fetcher._restarted = {TP("notify", 0)}
    fetcher.report_replaced({"notify"})
    assert losses == [Loss(TP("notify", 1), 3, None)]
