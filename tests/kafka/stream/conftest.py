"""Fixtures of the tests of the stream layer on a real Kafka."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.kafka.stream.relay_harness import RelayHarness, relay_harness


@pytest.fixture
def relay(kafka: str, tmp_path: Path) -> Iterator[RelayHarness]:
    """A relay with topics of its own on the broker that all tests share."""
    with relay_harness(kafka, f"relay-{uuid4().hex[:8]}", tmp_path) as harness:
        yield harness
