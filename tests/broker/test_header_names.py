"""Header names that are not UTF-8: the clients of the project neither lose such a record nor crash."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place

from saga_app.audit import reader
from saga_app.local.broker import Broker
from saga_app.stream.consume import header_names
from saga_app.stream.upstream.librdkafka import headers_of

#: Enough calls for CPython to specialize the call site; a specialized call does not check for pending errors.
RECORD_COUNT = 50


@pytest.fixture(scope="module", params=["none", "gzip", "snappy", "lz4", "zstd"])
def bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """HOST:PORT of a broker whose records have three headers; the name of the second is not UTF-8."""
    with Broker(topics={"odd": 1}) as broker:
        headers = [b"-H", b"good=1", b"-H", b"\xff\xfe=x", b"-H", b"caf\xc3\xa9=2"]
        command = [b"kcat", b"-b", broker.bootstrap.encode(), b"-t", b"odd", b"-P", b"-z", request.param.encode()]
        lines = b"\n".join(b"record %d" % number for number in range(RECORD_COUNT))
        subprocess.run([*command, *headers], input=lines, check=True, timeout=30)
        yield broker.bootstrap


@pytest.mark.parametrize("get_headers", [headers_of, reader._headers])
def test_librdkafka_returns_the_headers_with_utf_8_names(
    bootstrap: str, get_headers: Callable[[Any], Sequence[tuple[str, bytes]]]
) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    try:
        consumer.assign([Place("odd", 0, 0)])
        for number in range(RECORD_COUNT):
            message = consumer.poll(10)
            assert message is not None
            assert message.value() == b"record %d" % number
            assert list(get_headers(message)) == [("good", b"1"), ("café", b"2")]
    finally:
        consumer.close()


async def test_aiokafka_returns_every_header_with_question_marks_in_names(bootstrap: str) -> None:
    header_names.install()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition("odd", 0)])
        for number in range(RECORD_COUNT):
            record = await asyncio.wait_for(consumer.getone(), 10)
            assert record.value == b"record %d" % number
            assert list(record.headers) == [("good", b"1"), ("??", b"x"), ("caf??", b"2")]
    finally:
        await consumer.stop()
