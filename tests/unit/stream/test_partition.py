"""Keys are assigned to the same partitions as by the Java client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.stream import partition
from saga_app.stream.partition import partition_of

#: Keys with the result of Java's `Utils.murmur2`, a signed number, from the tests of Apache Kafka's clients.
JAVA_HASHES = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "java_hash"), JAVA_HASHES)
@pytest.mark.parametrize("count", [1, 4, 12, 100, 2_147_483_647])
def test_a_key_has_the_partition_of_the_java_client(key: bytes, java_hash: int, count: int) -> None:
    assert partition_of(key, count) == (java_hash & 0x7FFFFFFF) % count


@given(st.binary(max_size=80), st.integers(1, 1000))
def test_librdkafka_and_aiokafka_agree_on_the_partition(key: bytes, count: int) -> None:
    assert partition_of(key, count) == partition._by_aiokafka(key, count)


def test_the_partitioner_of_librdkafka_is_in_use() -> None:
    assert partition._partition is not partition._by_aiokafka
