"""What was read or written last of a table, decoded: a handler asks for the same row several times."""

from typing import Generic, TypeVar

from saga_app.saga.messages import Effects, Row, decode

T = TypeVar("T", Row, Effects)

#: How many are held; the oldest goes first. A decoded row takes about 4 kB.
HELD = 2_000


class RowCache(Generic[T]):
    """A row is the one that is held if its bytes are the same. Nobody may change what this gives: write a new one."""

    def __init__(self, kind: type[T], size: int = HELD) -> None:
        self._kind: type[T] = kind
        self._size = size
        self._held: dict[tuple[int, str], tuple[bytes, T]] = {}

    def read(self, partition: int, id: str, value: bytes) -> T:
        """The row of these bytes. Raises BadMessage."""
        held = self._held.get((partition, id))
        if held is not None and held[0] == value:
            return held[1]
        row: T = decode(self._kind, value)
        self.keep(partition, id, value, row)
        return row

    def drop(self, partition: int, id: str) -> None:
        """It will not be asked for."""
        self._held.pop((partition, id), None)

    def keep(self, partition: int, id: str, value: bytes, row: T) -> None:
        """A row that has just been written."""
        self.drop(partition, id)  # the newest is last
        self._held[partition, id] = value, row
        if len(self._held) > self._size:
            del self._held[next(iter(self._held))]
