"""Internals of librdkafka and its Python client, written against confluent-kafka 2.16 (librdkafka 2.16).

Constants such as `KafkaError._PARTITION_EOF` are not meant: they are documented error codes of the client itself.
"""

import ctypes
import logging
from collections.abc import Callable, Sequence
from gc import get_referents
from operator import methodcaller
from typing import Any

from confluent_kafka import cimpl

Header = tuple[str, bytes | None]

#: The logger of librdkafka's clients, see `BatchingProducer` and `Fetcher`.
log = logging.getLogger("librdkafka")

_get_headers = methodcaller("headers")


def murmur2_partitioner() -> Callable[[bytes, int], int] | None:
    """librdkafka's partitioner as a function of key and partition count; None if its symbols are hidden.

    It takes a tenth of the time of Python's arithmetic.

    confluent-kafka 2.16: the extension module `cimpl` exports `rd_kafka_msg_partitioner_murmur2` of librdkafka's public
    API. A build that does not export it gives None.
    """
    try:
        # PyDLL keeps the interpreter lock: releasing it takes longer than the call.
        hashed = ctypes.PyDLL(cimpl.__file__).rd_kafka_msg_partitioner_murmur2
    except (OSError, AttributeError):
        return None
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


def headers_of(message: Any) -> Sequence[Header]:
    """The headers of a consumed message, without those whose name is not UTF-8, which are logged.

    confluent-kafka 2.16: for such a name `Message.headers()` sets an error and still returns a list, in which the tuple
    of that header lacks the name. Reading that tuple crashes the process. CPython checks for the error after a call
    through `methodcaller`, and not always after a direct call. `gc.get_referents` shows only the items that exist.
    A client that raises UnicodeDecodeError, or skips the header, needs none of this and breaks nothing.
    """
    try:
        headers: Sequence[Header] = _get_headers(message) or ()
        return headers
    except (SystemError, UnicodeDecodeError):
        place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
        log.warning("header ignored, its name is not UTF-8: record=%s", place)
        return [header for header in _get_headers(message) or () if len(get_referents(header)) == 2]
