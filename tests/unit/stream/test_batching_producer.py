"""What was sent is acknowledged, or the receipt says that it was not."""

import asyncio
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from saga_app.stream.produce.batching_producer import IDLE_INTERVAL_S, BatchingProducer
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.produce.refusal import Refused
from tests.fakes.stream import FakeProducer


class Gate:
    """Opens and closes as the test says."""

    open: bool = True
    error: Exception | None = None

    def __call__(self) -> bool:
        if self.error:
            raise self.error
        return self.open


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def producer(gate: Gate) -> Any:
    made = BatchingProducer("nowhere:1", 5.0, gate, producer=FakeProducer)
    yield made
    await made.close()


def fake_of(producer: BatchingProducer) -> FakeProducer:
    return cast(FakeProducer, producer._main.producer)


async def until(condition: Any) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_receipt_settles_when_everything_under_it_is_acknowledged(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"1", [("h", b"v")])
    outputs.send("b", b"k", None, partition=7)
    waiting = asyncio.create_task(outputs.acknowledged())
    await until(lambda: len(fake_of(producer).taken) == 2)
    assert [message[:5] for message in fake_of(producer).taken] == [
        ("a", b"k", b"1", [("h", b"v")], -1),
        ("b", b"k", None, None, 7),
    ]
    fake_of(producer).acknowledge(1)
    await until(lambda: outputs.open == 1)
    assert not waiting.done()
    fake_of(producer).acknowledge()
    await waiting


async def test_a_receipt_under_which_nothing_was_sent_is_settled(producer: BatchingProducer) -> None:
    await Outputs(producer).acknowledged()


async def test_a_receipt_can_be_settled_again_and_by_several(producer: BatchingProducer) -> None:
    fake_of(producer).automatic = True
    outputs = Outputs(producer)
    for round_number in range(3):
        outputs.send("a", b"k", b"%d" % round_number)
        await asyncio.gather(outputs.acknowledged(), outputs.acknowledged())
    assert outputs.open == 0


async def test_who_stops_waiting_does_not_disturb_who_still_waits(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    impatient, patient = asyncio.create_task(outputs.acknowledged()), asyncio.create_task(outputs.acknowledged())
    await until(lambda: fake_of(producer).taken)
    impatient.cancel()
    await asyncio.wait([impatient])
    fake_of(producer).acknowledge()
    await patient


async def test_the_first_failure_is_told_at_once_and_stays(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"1")
    outputs.send("a", b"k", b"2")
    await until(lambda: len(fake_of(producer).taken) == 2)
    fake_of(producer).acknowledge(1, error=KafkaError(KafkaError._MSG_TIMED_OUT))
    with pytest.raises(KafkaException, match="_MSG_TIMED_OUT"):
        await outputs.acknowledged()
    fake_of(producer).acknowledge()
    await until(lambda: outputs.open == 0)
    with pytest.raises(KafkaException):
        await outputs.acknowledged()


async def test_a_message_that_is_refused_fails_alone(producer: BatchingProducer) -> None:
    fake_of(producer).automatic = True
    good, bad = Outputs(producer), Outputs(producer)
    bad.send("refused", b"k", b"v")
    good.send("a", b"k", b"v")
    await good.acknowledged()
    with pytest.raises(Refused, match="refused"):
        await bad.acknowledged()


async def test_what_librdkafka_cannot_take_waits_in_order_and_says_so(producer: BatchingProducer) -> None:
    fake_of(producer).room = 2
    outputs = Outputs(producer)
    for number in range(5):
        outputs.send("a", b"k", b"%d" % number)
    await until(lambda: producer.full)
    seen = []
    while outputs.open:
        seen += [message[2] for message in fake_of(producer).taken]
        fake_of(producer).acknowledge()
        await asyncio.sleep(0.01)
    assert seen == [b"0", b"1", b"2", b"3", b"4"]
    assert not producer.full


async def test_a_closed_gate_holds_messages_until_it_opens(producer: BatchingProducer, gate: Gate) -> None:
    gate.open = False
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    await until(lambda: producer.full)
    assert not fake_of(producer).taken
    gate.open = True
    await until(lambda: fake_of(producer).taken)
    assert not producer.full


async def test_a_gate_that_raises_fails_everything_held(producer: BatchingProducer, gate: Gate) -> None:
    gate.error = RuntimeError("fenced")
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    with pytest.raises(RuntimeError, match="fenced"):
        await outputs.acknowledged()


async def test_a_purge_fails_what_is_held_and_what_is_under_way(producer: BatchingProducer) -> None:
    fake_of(producer).room = 1
    receipts = [Outputs(producer), Outputs(producer)]
    for outputs in receipts:
        outputs.send("a", b"k", b"v")
    await until(lambda: producer.full)
    producer.purge()
    for outputs in receipts:
        with pytest.raises(KafkaException, match="_PURGE_QUEUE"):
            await outputs.acknowledged()
    assert len(producer) == 0


async def test_it_looks_seldom_when_nothing_is_under_way_and_at_once_when_something_is_sent(
    producer: BatchingProducer,
) -> None:
    fake_of(producer).automatic = True
    for _ in range(2):
        outputs = Outputs(producer)
        outputs.send("a", b"k", b"v")
        async with asyncio.timeout(IDLE_INTERVAL_S / 2):
            await outputs.acknowledged()
        await until(lambda: not producer._busy)


async def test_what_librdkafka_logs_is_heard_while_nothing_is_sent(producer: BatchingProducer) -> None:
    async with asyncio.timeout(2 * IDLE_INTERVAL_S):
        while not fake_of(producer).polls:
            await asyncio.sleep(0.05)


async def test_a_new_client_finds_its_brokers_once_with_its_first_message(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    for topic in ("a", "b"):
        outputs.send(topic, b"k", b"1")
        await until(lambda: fake_of(producer).taken)
        fake_of(producer).acknowledge()
        await until(lambda: len(producer) == 0)
    await until(lambda: fake_of(producer).asked == ["a", "a"])
