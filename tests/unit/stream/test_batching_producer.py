"""Each message sent through `Outputs` and `BatchingProducer` is acknowledged, or reported as failed."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from saga_app.stream.produce.batching_producer import IDLE_INTERVAL_S, BatchingProducer
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.produce.refusal import Refused
from tests.fakes.stream import FakeProducer, until


class FakeGate:
    """A gate that is open, closed, or raises `error`."""

    open: bool = True
    error: Exception | None = None

    def __call__(self) -> bool:
        if self.error:
            raise self.error
        return self.open


@pytest.fixture
def gate() -> FakeGate:
    return FakeGate()


@pytest.fixture
async def producer(gate: FakeGate) -> AsyncIterator[BatchingProducer]:
    producer = BatchingProducer("nowhere:1", 5.0, gate, producer=FakeProducer)
    yield producer
    await producer.close()


@pytest.fixture
def librdkafka(producer: BatchingProducer) -> FakeProducer:
    """The fake librdkafka producer behind `producer`."""
    return cast(FakeProducer, producer._main.producer)


async def test_outputs_complete_when_all_messages_are_acknowledged(
    producer: BatchingProducer, librdkafka: FakeProducer
) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"1", [("h", b"v")])
    outputs.send("b", b"k", None, partition=7)
    waiting = asyncio.create_task(outputs.acknowledged())
    await until(lambda: len(librdkafka.queued) == 2)
    assert [message[:5] for message in librdkafka.queued] == [
        ("a", b"k", b"1", [("h", b"v")], -1),
        ("b", b"k", None, None, 7),
    ]
    librdkafka.acknowledge(1)
    await until(lambda: outputs.open == 1)
    assert not waiting.done()
    librdkafka.acknowledge()
    await waiting


async def test_outputs_without_messages_are_complete(producer: BatchingProducer) -> None:
    await Outputs(producer).acknowledged()


async def test_outputs_can_be_used_again_and_awaited_by_several_tasks(
    producer: BatchingProducer, librdkafka: FakeProducer
) -> None:
    librdkafka.auto_acknowledge = True
    outputs = Outputs(producer)
    for round_number in range(3):
        outputs.send("a", b"k", b"%d" % round_number)
        await asyncio.gather(outputs.acknowledged(), outputs.acknowledged())
    assert outputs.open == 0


async def test_a_cancelled_waiter_does_not_disturb_the_others(
    producer: BatchingProducer, librdkafka: FakeProducer
) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    cancelled, waiting = asyncio.create_task(outputs.acknowledged()), asyncio.create_task(outputs.acknowledged())
    await until(lambda: librdkafka.queued)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    librdkafka.acknowledge()
    await waiting


async def test_the_first_failure_is_raised_immediately_and_stays(
    producer: BatchingProducer, librdkafka: FakeProducer
) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"1")
    outputs.send("a", b"k", b"2")
    await until(lambda: len(librdkafka.queued) == 2)
    librdkafka.acknowledge(1, error=KafkaError(KafkaError._MSG_TIMED_OUT))
    with pytest.raises(KafkaException, match="_MSG_TIMED_OUT"):
        await outputs.acknowledged()
    librdkafka.acknowledge()
    await until(lambda: outputs.open == 0)
    with pytest.raises(KafkaException):
        await outputs.acknowledged()


async def test_a_message_that_librdkafka_rejects_fails_alone(
    producer: BatchingProducer, librdkafka: FakeProducer
) -> None:
    librdkafka.auto_acknowledge = True
    accepted, rejected = Outputs(producer), Outputs(producer)
    rejected.send("refused", b"k", b"v")
    accepted.send("a", b"k", b"v")
    await accepted.acknowledged()
    with pytest.raises(Refused, match="refused"):
        await rejected.acknowledged()


async def test_messages_are_held_in_order_while_librdkafka_is_full(
    producer: BatchingProducer, librdkafka: FakeProducer
) -> None:
    librdkafka.max_queued = 2
    outputs = Outputs(producer)
    for number in range(5):
        outputs.send("a", b"k", b"%d" % number)
    await until(lambda: producer.full)
    values = []
    while outputs.open:
        values += [message[2] for message in librdkafka.queued]
        librdkafka.acknowledge()
        await asyncio.sleep(0.01)
    assert values == [b"0", b"1", b"2", b"3", b"4"]
    assert not producer.full


async def test_a_closed_gate_holds_messages_until_it_opens(
    producer: BatchingProducer, librdkafka: FakeProducer, gate: FakeGate
) -> None:
    gate.open = False
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    await until(lambda: producer.full)
    assert not librdkafka.queued
    gate.open = True
    await until(lambda: librdkafka.queued)
    assert not producer.full


async def test_a_gate_that_raises_fails_all_held_messages(producer: BatchingProducer, gate: FakeGate) -> None:
    gate.error = RuntimeError("fenced")
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    with pytest.raises(RuntimeError, match="fenced"):
        await outputs.acknowledged()


async def test_a_purge_fails_held_and_sent_messages(producer: BatchingProducer, librdkafka: FakeProducer) -> None:
    librdkafka.max_queued = 1
    both = [Outputs(producer), Outputs(producer)]
    for outputs in both:
        outputs.send("a", b"k", b"v")
    await until(lambda: producer.full)
    producer.purge()
    for outputs in both:
        with pytest.raises(KafkaException, match="_PURGE_QUEUE"):
            await outputs.acknowledged()
    assert len(producer) == 0


async def test_an_idle_producer_sends_the_next_message_immediately(
    producer: BatchingProducer, librdkafka: FakeProducer
) -> None:
    """It does not wait for its next poll, which comes after `IDLE_INTERVAL_S`."""
    librdkafka.auto_acknowledge = True
    for _ in range(2):
        outputs = Outputs(producer)
        outputs.send("a", b"k", b"v")
        async with asyncio.timeout(IDLE_INTERVAL_S / 2):
            await outputs.acknowledged()
        await until(lambda: not producer._busy)


async def test_an_idle_producer_is_polled_for_the_log_of_librdkafka(librdkafka: FakeProducer) -> None:
    async with asyncio.timeout(2 * IDLE_INTERVAL_S):
        while not librdkafka.polls:
            await asyncio.sleep(0.05)


async def test_the_first_message_warms_the_producer_up_once(
    producer: BatchingProducer, librdkafka: FakeProducer
) -> None:
    """See `Brokers.warm_up`, which requests metadata twice."""
    outputs = Outputs(producer)
    for topic in ("a", "b"):
        outputs.send(topic, b"k", b"1")
        await until(lambda: librdkafka.queued)
        librdkafka.acknowledge()
        await until(lambda: len(producer) == 0)
    await until(lambda: librdkafka.listed_topics == ["a", "a"])
