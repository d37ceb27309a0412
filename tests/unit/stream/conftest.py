"""Fixtures of the tests of the stream layer."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.broker import FakeBroker
from tests.unit.stream.pool_bench import Bench


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """A listening fake broker, which answers a consumer of the topic "in"."""
    async with FakeBroker() as fake:
        yield fake


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A pool with fakes around it."""
    bench = Bench()
    yield bench
    await bench.batching_producer.close()
