"""Fixtures of the tests of the stream layer."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.stream.broker_stub import BrokerStub


@pytest.fixture
async def broker() -> AsyncIterator[BrokerStub]:
    """A listening stub, without Kafka."""
    async with BrokerStub() as stub:
        yield stub
