"""aiokafka consumes batches through `Records`, also those of transactions."""

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from saga_app.stream.consume.header_names import Records

#: The offset of the attributes in a batch (bytes), and two of their bits (KIP-98).
ATTRIBUTES, TRANSACTIONAL, CONTROL = 22, 0x10, 0x20

PRODUCER_ID = 7


def batch(offset: int, value: bytes, attributes: int, key: bytes = b"") -> bytes:
    """A batch of one record, with these attribute bits set."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, PRODUCER_ID, 0, 0, 10_000)
    builder.append(0, 1_700_000_000_000, key, value, [("name", b"x")])
    data = bytearray(builder.build())
    data[:8] = offset.to_bytes(8)
    data[ATTRIBUTES] |= attributes
    return bytes(data)


def marker(offset: int, kind: str) -> bytes:
    """A transaction marker. Its key holds version 0, and 0 for abort or 1 for commit."""
    return batch(offset, bytes(6), TRANSACTIONAL | CONTROL, bytes([0, 0, 0, int(kind == "commit")]))


def read_committed(data: bytes, aborted: list[tuple[int, int]]) -> tuple[list[Any], int]:
    """The values that aiokafka returns with isolation level "read_committed", and the next offset that it fetches."""
    records = PartitionRecords(
        TopicPartition("new-user", 0), Records(data), aborted, 0, None, None, False, READ_COMMITTED
    )
    return [record.value for record in records], records.next_fetch_offset


@pytest.mark.field(35)
def test_aborted_records_and_transaction_markers_are_skipped(now: Callable[[str], None]) -> None:
    data = b"".join(
        [
            batch(0, b"aborted", TRANSACTIONAL),
            marker(1, "abort"),
            batch(2, b"committed", TRANSACTIONAL),
            marker(3, "commit"),
            batch(4, b"plain", 0),
        ]
    )
    values, next_offset = read_committed(data, [(PRODUCER_ID, 0)])
    assert (values, next_offset) == ([b"committed", b"plain"], 5)
    now(f"read of an abort, a commit and a record: {values}")


def test_a_batch_supports_next_and_iteration() -> None:
    records = Records(batch(0, b"value", 0)).next_batch()
    assert next(records).value == b"value"
    assert list(records) == []
