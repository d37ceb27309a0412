"""How full the embedded broker is. It silently drops the oldest records of a partition that is full.

librdkafka's mock cluster keeps up to 5 MiB a partition. (It also limits a partition to 100,000 record batches; 5 MiB
hold fewer, because the header of a batch alone takes 61 bytes.) It has no request for the current size, so a client
that reads all topics, the console, counts. The estimate is an upper bound: each record counts as a batch of its own.
Whether records were dropped can be requested: the first offset of the partition is then above 0.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

#: Capacity of one partition of the mock cluster (max_size in rdkafka_mock.c).
MAX_BYTES = 5 * 1024 * 1024

#: From this fill on new work is refused: sagas that have started still have to write their records.
REFUSE_AT = 0.8

#: The header of a record batch; the most that lengths and offsets add to a record, and to each of its headers (bytes).
_BATCH_BYTES = 61
_RECORD_BYTES = 32
_HEADER_BYTES = 10

Place = tuple[str, int]


def record_size(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> int:
    """The most bytes that this record takes in the broker, in a batch of its own."""
    in_headers = sum(_HEADER_BYTES + len(name.encode()) + len(content or b"") for name, content in headers)
    return _BATCH_BYTES + _RECORD_BYTES + len(key or b"") + len(value or b"") + in_headers


class Capacity:
    """Counts written bytes by topic and partition."""

    def __init__(self) -> None:
        self._bytes: defaultdict[Place, int] = defaultdict(int)

    def add(self, record: Any) -> None:
        """Count a consumed record (aiokafka's: topic, partition, key, value, headers)."""
        self.count(record.topic, record.partition, record_size(record.key, record.value, record.headers))

    def count(self, topic: str, partition: int, size: int) -> None:
        """Count a record of this size in bytes, see `record_size`."""
        self._bytes[topic, partition] += size

    @property
    def fill(self) -> float:
        """Fill of the fullest partition, between 0 (empty) and 1 (records are dropped)."""
        return max(self._bytes.values(), default=0) / MAX_BYTES

    @property
    def fullest(self) -> Place | None:
        """Topic and number of the fullest partition."""
        return max(self._bytes, key=self._bytes.__getitem__, default=None)

    def fill_with(self, records: int, size: int, partitions: int) -> float:
        """`fill` after this many more records of this size (bytes), spread over the partitions of their topic.

        Adds a fifth to the average, for the uneven distribution of keys.
        """
        return self.fill + records / partitions * 1.2 * size / MAX_BYTES
