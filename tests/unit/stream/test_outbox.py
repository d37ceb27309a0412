"""What was sent is acknowledged, or the receipt says that it was not."""

import asyncio
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from saga_app.stream.produce.batching_producer import IDLE_S, Outbox
from saga_app.stream.produce.outputs import Receipt
from saga_app.stream.produce.refusal import Refused
from tests.unit.stream.fakes import FakeProducer


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
async def outbox(gate: Gate) -> Any:
    made = Outbox("nowhere:1", 5.0, gate, producer=FakeProducer)
    yield made
    await made.close()


def producer(outbox: Outbox) -> FakeProducer:
    return cast(FakeProducer, outbox._main.producer)


async def until(condition: Any) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_receipt_settles_when_everything_under_it_is_acknowledged(outbox: Outbox) -> None:
    receipt = Receipt(outbox)
    receipt.send("a", b"k", b"1", [("h", b"v")])
    receipt.send("b", b"k", None, partition=7)
    waiting = asyncio.create_task(receipt.settled())
    await until(lambda: len(producer(outbox).taken) == 2)
    assert [message[:5] for message in producer(outbox).taken] == [
        ("a", b"k", b"1", [("h", b"v")], -1),
        ("b", b"k", None, None, 7),
    ]
    producer(outbox).acknowledge(1)
    await until(lambda: receipt.open == 1)
    assert not waiting.done()
    producer(outbox).acknowledge()
    await waiting


async def test_a_receipt_under_which_nothing_was_sent_is_settled(outbox: Outbox) -> None:
    await Receipt(outbox).settled()


async def test_a_receipt_can_be_settled_again_and_by_several(outbox: Outbox) -> None:
    producer(outbox).automatic = True
    receipt = Receipt(outbox)
    for round_number in range(3):
        receipt.send("a", b"k", b"%d" % round_number)
        await asyncio.gather(receipt.settled(), receipt.settled())
    assert receipt.open == 0


async def test_who_stops_waiting_does_not_disturb_who_still_waits(outbox: Outbox) -> None:
    receipt = Receipt(outbox)
    receipt.send("a", b"k", b"v")
    impatient, patient = asyncio.create_task(receipt.settled()), asyncio.create_task(receipt.settled())
    await until(lambda: producer(outbox).taken)
    impatient.cancel()
    await asyncio.wait([impatient])
    producer(outbox).acknowledge()
    await patient


async def test_the_first_failure_is_told_at_once_and_stays(outbox: Outbox) -> None:
    receipt = Receipt(outbox)
    receipt.send("a", b"k", b"1")
    receipt.send("a", b"k", b"2")
    await until(lambda: len(producer(outbox).taken) == 2)
    producer(outbox).acknowledge(1, error=KafkaError(KafkaError._MSG_TIMED_OUT))
    with pytest.raises(KafkaException, match="_MSG_TIMED_OUT"):
        await receipt.settled()
    producer(outbox).acknowledge()
    await until(lambda: receipt.open == 0)
    with pytest.raises(KafkaException):
        await receipt.settled()


async def test_a_message_that_is_refused_fails_alone(outbox: Outbox) -> None:
    producer(outbox).automatic = True
    good, bad = Receipt(outbox), Receipt(outbox)
    bad.send("refused", b"k", b"v")
    good.send("a", b"k", b"v")
    await good.settled()
    with pytest.raises(Refused, match="refused"):
        await bad.settled()


async def test_what_librdkafka_cannot_take_waits_in_order_and_says_so(outbox: Outbox) -> None:
    producer(outbox).room = 2
    receipt = Receipt(outbox)
    for number in range(5):
        receipt.send("a", b"k", b"%d" % number)
    await until(lambda: outbox.full)
    seen = []
    while receipt.open:
        seen += [message[2] for message in producer(outbox).taken]
        producer(outbox).acknowledge()
        await asyncio.sleep(0.01)
    assert seen == [b"0", b"1", b"2", b"3", b"4"]
    assert not outbox.full


async def test_a_closed_gate_holds_messages_until_it_opens(outbox: Outbox, gate: Gate) -> None:
    gate.open = False
    receipt = Receipt(outbox)
    receipt.send("a", b"k", b"v")
    await until(lambda: outbox.full)
    assert not producer(outbox).taken
    gate.open = True
    await until(lambda: producer(outbox).taken)
    assert not outbox.full


async def test_a_gate_that_raises_fails_everything_held(outbox: Outbox, gate: Gate) -> None:
    gate.error = RuntimeError("fenced")
    receipt = Receipt(outbox)
    receipt.send("a", b"k", b"v")
    with pytest.raises(RuntimeError, match="fenced"):
        await receipt.settled()


async def test_a_purge_fails_what_is_held_and_what_is_under_way(outbox: Outbox) -> None:
    producer(outbox).room = 1
    receipts = [Receipt(outbox), Receipt(outbox)]
    for receipt in receipts:
        receipt.send("a", b"k", b"v")
    await until(lambda: outbox.full)
    outbox.purge()
    for receipt in receipts:
        with pytest.raises(KafkaException, match="_PURGE_QUEUE"):
            await receipt.settled()
    assert len(outbox) == 0


async def test_it_looks_seldom_when_nothing_is_under_way_and_at_once_when_something_is_sent(outbox: Outbox) -> None:
    producer(outbox).automatic = True
    for _ in range(2):
        receipt = Receipt(outbox)
        receipt.send("a", b"k", b"v")
        async with asyncio.timeout(IDLE_S / 2):
            await receipt.settled()
        await until(lambda: not outbox._busy)


async def test_what_librdkafka_logs_is_heard_while_nothing_is_sent(outbox: Outbox) -> None:
    async with asyncio.timeout(2 * IDLE_S):
        while not producer(outbox).polls:
            await asyncio.sleep(0.05)


async def test_a_new_client_finds_its_brokers_once_with_its_first_message(outbox: Outbox) -> None:
    receipt = Receipt(outbox)
    for topic in ("a", "b"):
        receipt.send(topic, b"k", b"1")
        await until(lambda: producer(outbox).taken)
        producer(outbox).acknowledge()
        await until(lambda: len(outbox) == 0)
    await until(lambda: producer(outbox).asked == ["a", "a"])
