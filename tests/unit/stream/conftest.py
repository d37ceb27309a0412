"""Fixtures of the tests of the stream layer."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.broker import FakeBroker


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """A listening stub, without Kafka."""
    async with FakeBroker() as stub:
        yield stub
