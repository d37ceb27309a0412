"""A topic was created again: what was read of the old one is reported, and the new one is read from its beginning."""

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from faust.types import TP

from saga_app.stream.fetcher import Fetcher, Loss

pytestmark = pytest.mark.field(34)

VALID = SimpleNamespace(has_valid_position=True)
NONE = SimpleNamespace(has_valid_position=False)


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
    states = {TP("notify", 0): VALID, TP("notify", 1): VALID}
    assert fetcher.start_over({"notify"}, states) == [*states]
    assert losses == [Loss(TP("notify", 0), 5, None), Loss(TP("notify", 1), 3, None)]
    fetcher.start_over({"notify"}, states)
    assert len(losses) == 2


async def test_it_is_reported_also_when_a_rebalance_has_taken_the_partitions(
    fetcher: Fetcher, losses: list[Loss]
) -> None:
    assert fetcher.start_over({"notify"}, {}) == []
    assert [loss.first for loss in losses] == [5, 3]


async def test_a_partition_that_began_again_by_itself_is_neither_reported_nor_sought(
    fetcher: Fetcher, losses: list[Loss]
) -> None:
    fetcher._restarted = {TP("notify", 0)}
    states = {TP("notify", 0): VALID, TP("notify", 1): NONE}
    assert fetcher.start_over({"notify"}, states) == []
    assert losses == [Loss(TP("notify", 1), 3, None)]
