"""Lets aiokafka read records whose header names are not UTF-8.

Kafka accepts any bytes as a header name, and some clients write them. aiokafka raises UnicodeDecodeError for the whole
batch, each time: one such record blocks everything after it. Here each non-ASCII byte of such a name is replaced by `?`
before the batch is decoded.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint_py as decode_varint

from saga_app.stream.upstream.aiokafka import raw_batch, read_batches_with

#: The length of a batch follows its base offset, and does not include these two fields (bytes).
_LENGTH, _OVERHEAD = slice(8, 12), 12


def install() -> None:
    """For all aiokafka consumers of this process."""
    read_batches_with(Records)


class Records:
    """The batches of a fetch response; same interface as aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = memoryview(data), 0
        self._records = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        """Size of all batches."""
        size: int = self._records.size_in_bytes()
        return size

    def has_next(self) -> bool:
        """Whether there is another batch."""
        found: bool = self._records.has_next()
        return found

    def next_batch(self) -> "_Batch":
        """The next batch."""
        data = self._data[self._position :]
        size = _OVERHEAD + int.from_bytes(data[_LENGTH])
        self._position += size
        return _Batch(self._records.next_batch(), data[:size])


class _Batch:
    """Same interface as aiokafka's batch: an iterator over its records. `next()` is called for control batches."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch, self._data = batch, data
        self._records: Iterator[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._records is None:
            self._records = iter(self._decoded())
        return next(self._records)

    def _decoded(self) -> list[Any]:
        try:
            return list(self._batch)
        except UnicodeDecodeError:
            return _repaired(self._data)


def _repaired(data: memoryview) -> list[Any]:
    batch = raw_batch(data)
    position = batch.first_position
    for _ in range(batch.record_count):
        position = _repair(batch.buffer, position)
    return list(batch.records)


def _repair(buffer: bytearray, position: int) -> int:
    """Make the header names of the record at this position ASCII; returns the position of the next record."""
    length, position = decode_varint(buffer, position)
    end: int = position + length
    _, position = decode_varint(buffer, position + 1)  # the timestamp, after one byte of attributes
    _, position = decode_varint(buffer, position)  # the offset
    for _ in ("key", "value"):
        size, position = decode_varint(buffer, position)
        position += max(size, 0)
    count, position = decode_varint(buffer, position)
    for _ in range(count):
        size, position = decode_varint(buffer, position)
        name = buffer[position : position + size]
        buffer[position : position + size] = bytes(byte if byte < 0x80 else ord("?") for byte in name)
        size, position = decode_varint(buffer, position + size)
        position += max(size, 0)
    return end
