"""Header names that are not UTF-8: no client of ours may lose the record, or its process, over them."""

import asyncio
import subprocess
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place

from saga_app.audit import reader
from saga_app.local.broker import Broker
from saga_app.stream.consume import header_names
from saga_app.stream.upstream.librdkafka import headers_of

#: More than CPython needs to replace a call by a quicker one, which does not look for errors.
MANY = 50


@pytest.fixture(scope="module", params=["none", "gzip", "snappy", "lz4", "zstd"])
def written(request: pytest.FixtureRequest) -> Any:
    """A broker with records whose second of three headers has such a name."""
    with Broker(topics={"odd": 1}) as broker:
        given = [b"-H", b"good=1", b"-H", b"\xff\xfe=x", b"-H", b"caf\xc3\xa9=2"]
        command = [b"kcat", b"-b", broker.bootstrap.encode(), b"-t", b"odd", b"-P", b"-z", request.param.encode()]
        lines = b"\n".join(b"record %d" % number for number in range(MANY))
        subprocess.run([*command, *given], input=lines, check=True, timeout=30)
        yield broker.bootstrap


@pytest.mark.parametrize("of", [headers_of, reader._headers])
def test_librdkafka_gives_the_headers_that_it_can(written: str, of: Any) -> None:
    consumer = Consumer({"bootstrap.servers": written, "group.id": "none", "enable.auto.commit": False})
    try:
        consumer.assign([Place("odd", 0, 0)])
        for number in range(MANY):
            message = consumer.poll(10)
            assert message is not None
            assert message.value() == b"record %d" % number
            assert list(of(message)) == [("good", b"1"), ("café", b"2")]
    finally:
        consumer.close()


async def test_aiokafka_gives_all_of_them_with_question_marks(written: str) -> None:
    header_names.install()
    consumer = AIOKafkaConsumer(bootstrap_servers=written, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition("odd", 0)])
        for number in range(MANY):
            record = await asyncio.wait_for(consumer.getone(), 10)
            assert record.value == b"record %d" % number
            assert list(record.headers) == [("good", b"1"), ("??", b"x"), ("caf??", b"2")]
    finally:
        await consumer.stop()
