"""The partition of a key: the murmur2 hash of the Java client, which aiokafka and librdkafka implement too."""

from aiokafka.partitioner import murmur2

from saga_app.stream.upstream.librdkafka import murmur2_partitioner


def _by_aiokafka(key: bytes, count: int) -> int:
    hashed: int = murmur2(key)
    return (hashed & 0x7FFFFFFF) % count


_partition = murmur2_partitioner() or _by_aiokafka


def partition_of(key: bytes, count: int) -> int:
    """The partition of this key in a topic of `count` partitions."""
    return _partition(key, count)
