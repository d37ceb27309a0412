"""Outside of a worker too, sent means acknowledged."""

import asyncio
import socket
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError

from devtools.wait import eventually
from saga_app.stream import Message, NotAcknowledged, Sender
from saga_app.stream.produce import sender as sender_module
from saga_app.stream.produce.batching_producer import BatchingProducer

TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


class Pending:
    """An outbox whose messages are acknowledged by the test."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.closed = False

    def put(self, *_message: Any, report: Any, **_: Any) -> None:
        self.reports.append(report)

    async def close(self) -> None:
        self.closed = True


async def made_reports(made: list[Pending], number: int, count: int) -> bool:
    """Whether so many messages wait in this one."""
    return len(made) > number and len(made[number].reports) == count


@pytest.fixture
def nobody() -> str:
    """The address of a broker that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"127.0.0.1:{port}"


async def test_a_broker_that_is_away_is_told_within_the_time_given(nobody: str) -> None:
    async with Sender(nobody, timeout_s=1.0, log_level=0) as sender:
        began = time.monotonic()
        with pytest.raises(NotAcknowledged, match="1 of 1 messages were not acknowledged") as told:
            await sender.send("a", b"k", b"v")
        assert time.monotonic() - began < 3
    assert told.value.failed == [0]


async def test_every_message_that_was_not_acknowledged_is_named(nobody: str) -> None:
    async with Sender(nobody, timeout_s=0.5, log_level=0) as sender:
        with pytest.raises(NotAcknowledged) as told:
            await sender.send_all([Message("a", b"k", b"v")] * 10_000)
    assert told.value.failed == list(range(10_000))


async def test_a_client_whose_messages_time_out_is_not_used_again(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[BatchingProducer] = []

    def new(*arguments: Any, **settings: Any) -> BatchingProducer:
        made.append(BatchingProducer(*arguments, **settings))
        return made[-1]

    monkeypatch.setattr(sender_module, "BatchingProducer", new)
    async with Sender(nobody, timeout_s=0.5, log_level=0) as sender:
        for tried in (1, 2):
            with pytest.raises(NotAcknowledged):
                await sender.send("a", b"k", b"v")
            assert len(made) == tried


async def test_who_learns_late_that_a_client_was_useless_leaves_its_successor_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Pending] = []
    monkeypatch.setattr(sender_module, "BatchingProducer", lambda *_, **_options: made.append(Pending()) or made[-1])
    sender = Sender("127.0.0.1:1")
    first, second = (asyncio.create_task(sender.send("a", b"k", b"v")) for _ in range(2))
    await eventually(lambda: made_reports(made, 0, 2), 5, "both are under way")
    made[0].reports[0](TIMED_OUT, None)
    with pytest.raises(NotAcknowledged):
        await first
    third = asyncio.create_task(sender.send("a", b"k", b"v"))
    await eventually(lambda: made_reports(made, 1, 1), 5, "the next one has a client of its own")
    made[0].reports[1](TIMED_OUT, None)
    with pytest.raises(NotAcknowledged):
        await second
    assert [each.closed for each in made] == [True, False]
    made[1].reports[0](None, None)
    await third


async def test_nothing_to_send_needs_no_broker(nobody: str) -> None:
    async with Sender(nobody) as sender:
        await sender.send_all([])
