"""Fixtures of the tests of `saga_app.stream.upstream`."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer

from tests.fakes.broker import FakeBroker


@pytest.fixture
async def reader(broker: FakeBroker) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group and without an assignment."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=10)
    await consumer.start()
    yield consumer
    await consumer.stop()
