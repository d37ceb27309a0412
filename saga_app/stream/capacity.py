"""How full the embedded broker is: it drops its oldest records without a word when a partition is full.

librdkafka's mock cluster keeps up to 5 MiB a partition (and 100,000 record batches, which 5 MiB never are, because
the header of a batch alone takes 61 bytes).  It cannot be asked how much that is just now, so whoever reads all
topics (the console) counts.  What is counted is never less than what the broker holds: each record is taken for
a batch of its own.  The one thing that can be asked is whether it has dropped already: then the first
offset of a partition is above 0.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

#: What one partition of the mock cluster holds (max_size in rdkafka_mock.c).
MAX_BYTES = 5 * 1024 * 1024

#: From this fill on new work is to be refused: what is under way still has to write its records.
REFUSE_AT = 0.8

#: The header of a record batch, and the most that the lengths and offsets of a record and of a header can take (bytes).
_BATCH = 61
_RECORD = 32
_HEADER = 10

Place = tuple[str, int]


def record_size(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]] = ()) -> int:
    """How many bytes this record may take at the broker, in a batch of its own."""
    named = sum(_HEADER + len(name.encode()) + len(content or b"") for name, content in headers)
    return _BATCH + _RECORD + len(key or b"") + len(value or b"") + named


class Capacity:
    """Counts what was written, by topic and partition."""

    def __init__(self) -> None:
        self._bytes: defaultdict[Place, int] = defaultdict(int)

    def add(self, record: Any) -> None:
        """Count a record that was read (aiokafka's: topic, partition, key, value, headers)."""
        self.count(record.topic, record.partition, record_size(record.key, record.value, record.headers))

    def count(self, topic: str, partition: int, size: int) -> None:
        """Count a record of this size; see record_size."""
        self._bytes[topic, partition] += size

    @property
    def fill(self) -> float:
        """0 empty, 1 full: of the fullest partition, since the first one that drops has lost something."""
        return max(self._bytes.values(), default=0) / MAX_BYTES

    @property
    def fullest(self) -> Place | None:
        """Topic and partition of the fullest."""
        return max(self._bytes, key=self._bytes.__getitem__, default=None)

    def fill_with(self, records: int, size: int, partitions: int) -> float:
        """What `fill` becomes when so many more records of this size spread over the partitions of its topic.

        A fifth more than the average is allowed for the uneven spread of keys.
        """
        return self.fill + records / partitions * 1.2 * size / MAX_BYTES


def dropped(first_offsets: Mapping[Any, int]) -> list[Any]:
    """The partitions that have lost records, by their first offsets (aiokafka's `beginning_offsets`)."""
    return [place for place, offset in first_offsets.items() if offset > 0]
