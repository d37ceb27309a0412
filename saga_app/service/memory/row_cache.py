"""A cache of decoded rows, because a handler reads the same row several times."""

from typing import Generic, TypeVar

from cachetools import FIFOCache

from saga_app.saga.codec import decode
from saga_app.saga.messages import Effects, Row

T = TypeVar("T", Row, Effects)

#: The maximum number of cached rows; the oldest is evicted first. A decoded row takes about 4 kB.
MAX_CACHED = 2_000


class RowCache(Generic[T]):
    """Caches decoded rows by partition and id. Callers must not modify a row that they get."""

    def __init__(self, kind: type[T], size: int = MAX_CACHED) -> None:
        self._kind: type[T] = kind
        self._held: FIFOCache[tuple[int, str], tuple[bytes, T]] = FIFOCache(size)

    def read(self, partition: int, id: str, value: bytes) -> T:
        """The decoded row, from the cache if its bytes are the same. Raises `BadMessage`."""
        held = self._held.get((partition, id))
        if held is not None and held[0] == value:
            return held[1]
        row: T = decode(self._kind, value)
        self.keep(partition, id, value, row)
        return row

    def drop(self, partition: int, id: str) -> None:
        """Remove a row that will not be read again."""
        self._held.pop((partition, id), None)

    def keep(self, partition: int, id: str, value: bytes, row: T) -> None:
        """Cache a row that was just read or written."""
        self._held[partition, id] = value, row
