"""A lane of its own for each test."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.kafka.stream.relay_harness import RelayHarness, lane


@pytest.fixture
def relay(kafka: str, tmp_path: Path) -> Iterator[RelayHarness]:
    """A lane on the broker that all tests share."""
    with lane(kafka, f"relay-{uuid4().hex[:8]}", tmp_path) as made:
        yield made
