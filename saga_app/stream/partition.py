"""On which partition Kafka puts a key: the murmur2 hash of the Java client, which all well-behaved clients share."""

import ctypes
from collections.abc import Callable

from aiokafka.partitioner import murmur2
from confluent_kafka import cimpl


def _by_librdkafka() -> Callable[[bytes, int], int]:
    """librdkafka's public function, ten times as fast as Python's arithmetic (0.5 µs a key)."""
    hashed = ctypes.CDLL(cimpl.__file__).rd_kafka_msg_partitioner_murmur2
    hashed.restype = ctypes.c_int32
    hashed.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]

    def partition(key: bytes, count: int) -> int:
        found: int = hashed(None, key, len(key), count, None, None)
        return found

    return partition


def _by_aiokafka(key: bytes, count: int) -> int:
    hashed: int = murmur2(key)
    return (hashed & 0x7FFFFFFF) % count


try:
    _partition = _by_librdkafka()
except (OSError, AttributeError):  # a build of librdkafka that does not show its symbols
    _partition = _by_aiokafka


def partition_of(key: bytes, count: int) -> int:
    """The partition of this key in a topic of `count` partitions."""
    return _partition(key, count)
