"""A fetched record, without a consumer."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class FakeRecord:
    """Has the attributes of aiokafka's `ConsumerRecord` that the project reads; `timestamp` is in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = field(default_factory=list)
    timestamp_type: int = 1
