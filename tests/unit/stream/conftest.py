"""Fixtures of the tests of the stream layer."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.broker import FakeBroker


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """A listening fake broker, which answers a consumer of the topic "in"."""
    async with FakeBroker() as fake:
        yield fake
