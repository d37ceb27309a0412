"""The interface of a record in Kafka, whichever client has fetched it."""

from collections.abc import Sequence
from typing import Protocol

#: Kafka allows a header without a value.
Headers = Sequence[tuple[str, bytes | None]]


class Record(Protocol):
    """A fetched record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970, unchecked: see `times.record_time`."""

    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
