"""`Sender` returns only when the broker has acknowledged the messages."""

import asyncio
import socket
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError

from devtools.wait import eventually
from saga_app.stream import Message, NotAcknowledged, Sender
from saga_app.stream.produce import sender as sender_module
from saga_app.stream.produce.batching_producer import BatchingProducer, Report

TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


class FakeBatchingProducer:
    """Keeps the delivery reports of its messages, for the test to call."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.closed = False

    def put(self, *_message: Any, report: Report, **_options: Any) -> None:
        self.reports.append(report)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def unused_address() -> str:
    """HOST:PORT at which no broker listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


async def test_an_unreachable_broker_is_reported_within_the_timeout(unused_address: str) -> None:
    async with Sender(unused_address, timeout_s=1.0, log_level=0) as sender:
        began = time.monotonic()
        with pytest.raises(NotAcknowledged, match="1 of 1 messages were not acknowledged") as caught:
            await sender.send("a", b"k", b"v")
        assert time.monotonic() - began < 3
    assert caught.value.failed == [0]


async def test_the_error_names_every_unacknowledged_message(unused_address: str) -> None:
    async with Sender(unused_address, timeout_s=0.5, log_level=0) as sender:
        with pytest.raises(NotAcknowledged) as caught:
            await sender.send_all([Message("a", b"k", b"v")] * 10_000)
    assert caught.value.failed == list(range(10_000))


async def test_a_producer_whose_messages_timed_out_is_replaced(
    unused_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    producers: list[BatchingProducer] = []

    def new_producer(*arguments: Any, **settings: Any) -> BatchingProducer:
        producers.append(BatchingProducer(*arguments, **settings))
        return producers[-1]

    monkeypatch.setattr(sender_module, "BatchingProducer", new_producer)
    async with Sender(unused_address, timeout_s=0.5, log_level=0) as sender:
        for attempts in (1, 2):
            with pytest.raises(NotAcknowledged):
                await sender.send("a", b"k", b"v")
            assert len(producers) == attempts


async def test_a_late_timeout_does_not_close_the_next_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    producers: list[FakeBatchingProducer] = []

    def new_producer(*_arguments: Any, **_settings: Any) -> FakeBatchingProducer:
        producers.append(FakeBatchingProducer())
        return producers[-1]

    async def has_messages(index: int, count: int) -> bool:
        return len(producers) > index and len(producers[index].reports) == count

    monkeypatch.setattr(sender_module, "BatchingProducer", new_producer)
    sender = Sender("127.0.0.1:1")
    first, second = (asyncio.create_task(sender.send("a", b"k", b"v")) for _ in range(2))
    await eventually(lambda: has_messages(0, 2), 5, "the first producer did not get both messages")
    producers[0].reports[0](TIMED_OUT, None)
    with pytest.raises(NotAcknowledged):
        await first
    third = asyncio.create_task(sender.send("a", b"k", b"v"))
    await eventually(lambda: has_messages(1, 1), 5, "the third message was not sent by a second producer")
    producers[0].reports[1](TIMED_OUT, None)
    with pytest.raises(NotAcknowledged):
        await second
    assert [each.closed for each in producers] == [True, False]
    producers[1].reports[0](None, None)
    await third


async def test_sending_no_messages_needs_no_broker(unused_address: str) -> None:
    async with Sender(unused_address) as sender:
        await sender.send_all([])
