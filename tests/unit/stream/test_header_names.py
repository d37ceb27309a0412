"""Batches as aiokafka reads them through our reader of header names: also those of transactions."""

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from saga_app.stream.consume.header_names import Records

#: Of a batch: where its attributes are, and two of their bits (KIP-98).
ATTRIBUTES, TRANSACTIONAL, CONTROL = 22, 0x10, 0x20

PRODUCER = 7


def batch(first: int, value: bytes, flags: int, key: bytes = b"", header: str = "name") -> bytes:
    """One record in a batch, with these bits set."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, PRODUCER, 0, 0, 10_000)
    builder.append(0, 1_700_000_000_000, key, value, [(header, b"x")])
    data = bytearray(builder.build())
    data[:8] = first.to_bytes(8)
    data[ATTRIBUTES] |= flags
    return bytes(data)


def marker(first: int, kind: str) -> bytes:
    """The end of a transaction: version 0, and 0 for abort or 1 for commit."""
    return batch(first, bytes(6), TRANSACTIONAL | CONTROL, bytes([0, 0, 0, int(kind == "commit")]))


def read(data: bytes, aborted: list[tuple[int, int]], records: Any = Records) -> tuple[list[Any], int]:
    """The values that a consumer of committed records gets, and where it goes on."""
    found = PartitionRecords(
        TopicPartition("new-user", 0), records(data), aborted, 0, None, None, False, READ_COMMITTED
    )
    return [record.value for record in found], found.next_fetch_offset


@pytest.mark.field(35)
def test_aborted_records_are_skipped_and_the_markers_of_transactions_read(now: Callable[[str], None]) -> None:
    data = b"".join(
        [
            batch(0, b"aborted", TRANSACTIONAL),
            marker(1, "abort"),
            batch(2, b"committed", TRANSACTIONAL),
            marker(3, "commit"),
            batch(4, b"plain", 0),
        ]
    )
    values, behind = read(data, [(PRODUCER, 0)])
    assert (values, behind) == ([b"committed", b"plain"], 5)
    now(f"read of an abort, a commit and a record: {values}")


def test_a_batch_can_be_asked_for_its_records_one_by_one_and_in_a_loop() -> None:
    one = Records(batch(0, b"value", 0)).next_batch()
    assert next(one).value == b"value"
    assert list(one) == []
