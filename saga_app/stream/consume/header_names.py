"""Let aiokafka read records with header names that are not UTF-8.

Kafka takes any bytes as a name, and some clients write them. aiokafka raises UnicodeDecodeError for the whole batch,
each time: one such record keeps everything after it from being read. Here each byte of such a name that is not ASCII
is replaced by `?` before the batch is decoded.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint_py as decode_varint

#: Of a batch: its length follows its base offset, and does not count these two.
_LENGTH, _OVERHEAD = slice(8, 12), 12


def install() -> None:
    """For all of aiokafka's consumers in this process."""
    fetcher.MemoryRecords = Records


class Records:
    """As `aiokafka.record.memory_records.MemoryRecords`: the batches of a fetched run."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0
        self._records = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        """Of all batches."""
        size: int = self._records.size_in_bytes()
        return size

    def has_next(self) -> bool:
        """Whether there is another batch."""
        there: bool = self._records.has_next()
        return there

    def next_batch(self) -> "_Batch":
        """The next batch."""
        data = self._data[self._at :]
        size = _OVERHEAD + int.from_bytes(data[_LENGTH])
        self._at += size
        return _Batch(self._records.next_batch(), data[:size])


class _Batch:
    """As aiokafka's batch: an iterator over its records. It also asks a control batch for its first one."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch, self._raw = batch, data
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
            return _repaired(self._raw)


def _repaired(data: memoryview) -> list[Any]:
    batch: Any = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()
    at = batch._pos
    for _ in range(batch._num_records):
        at = _repair(batch._buffer, at)
    return list(batch)


def _repair(buffer: bytearray, at: int) -> int:
    """Make the header names of the record at this position ASCII; returns the position of the next record."""
    length, at = decode_varint(buffer, at)
    end: int = at + length
    _, at = decode_varint(buffer, at + 1)  # after the attributes: the time
    _, at = decode_varint(buffer, at)  # the offset
    for _ in ("key", "value"):
        size, at = decode_varint(buffer, at)
        at += max(size, 0)
    count, at = decode_varint(buffer, at)
    for _ in range(count):
        size, at = decode_varint(buffer, at)
        buffer[at : at + size] = bytes(byte if byte < 0x80 else ord("?") for byte in buffer[at : at + size])
        size, at = decode_varint(buffer, at + size)
        at += max(size, 0)
    return end
