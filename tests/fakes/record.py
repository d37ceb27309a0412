"""A record as it is fetched, made by hand."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class FakeRecord:
    """As fetched."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    timestamp_type: int = 1
