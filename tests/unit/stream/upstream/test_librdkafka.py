"""Tests of `saga_app.stream.upstream.librdkafka`. `tests/broker` reads invalid header names from a broker."""

from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from saga_app.stream.upstream.librdkafka import headers_of, murmur2_partitioner


def test_the_partitioner_of_librdkafka_agrees_with_the_java_client() -> None:
    partition = murmur2_partitioner()
    assert partition is not None
    for key in (b"21", b"foobar", b"", b"\x00\xff", b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"):
        assert partition(key, 12) == (murmur2(key) & 0x7FFFFFFF) % 12


class FakeMessage:
    """A consumed message whose first call of `headers()` raises `error`, if there is one."""

    def __init__(self, error: Exception | None, headers: Any) -> None:
        self._error, self._headers = error, headers

    def headers(self) -> Any:
        error, self._error = self._error, None
        if error:
            raise error
        return self._headers

    def topic(self) -> str:
        return "in"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 3


@pytest.mark.parametrize("error", [SystemError("result with an error set"), UnicodeDecodeError("utf-8", b"", 0, 1, "")])
def test_headers_without_a_valid_name_are_left_out(error: Exception) -> None:
    message = FakeMessage(error, [("a", b"1"), (b"nameless",), ("b", None)])
    assert list(headers_of(message)) == [("a", b"1"), ("b", None)]


@pytest.mark.parametrize("headers", [None, [], [("a", b"1")]])
def test_valid_headers_are_returned_unchanged(headers: Any) -> None:
    assert list(headers_of(FakeMessage(None, headers))) == (headers or [])
