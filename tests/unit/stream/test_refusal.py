"""Which errors of the broker are permanent, and how a refused message is separated from the rest of its batch."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from saga_app.stream import Outputs, Refused
from saga_app.stream.produce.batching_producer import BatchingProducer
from saga_app.stream.produce.refusal import is_permanent
from tests.fakes.stream import FakeProducer, until

pytestmark = pytest.mark.field(32)

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)

PERMANENT = [
    "MSG_SIZE_TOO_LARGE",
    "RECORD_LIST_TOO_LARGE",
    "INVALID_MSG",
    "INVALID_MSG_SIZE",
    "INVALID_RECORD",
    "INVALID_TIMESTAMP",
    "POLICY_VIOLATION",
    "TOPIC_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TOPIC_EXCEPTION",
    "_UNKNOWN_PARTITION",
]

TRANSIENT = [
    "_MSG_TIMED_OUT",
    "_TRANSPORT",
    "_ALL_BROKERS_DOWN",
    "_PURGE_QUEUE",
    "_PURGE_INFLIGHT",
    "_UNKNOWN_TOPIC",
    "_FATAL",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "REQUEST_TIMED_OUT",
    "NOT_LEADER_FOR_PARTITION",
    "UNKNOWN_TOPIC_OR_PART",
    "KAFKA_STORAGE_ERROR",
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "INVALID_PRODUCER_EPOCH",
    "PRODUCER_FENCED",
    "THROTTLING_QUOTA_EXCEEDED",
    "SASL_AUTHENTICATION_FAILED",
]


@pytest.mark.parametrize("name", PERMANENT)
def test_errors_about_the_message_or_its_topic_are_permanent(name: str) -> None:
    error = KafkaError(getattr(KafkaError, name))
    assert is_permanent(error)
    assert is_permanent(KafkaException(error))


@pytest.mark.parametrize("name", TRANSIENT)
def test_errors_about_the_broker_or_the_producer_are_not_permanent(name: str) -> None:
    assert not is_permanent(KafkaError(getattr(KafkaError, name)))


def test_a_fatal_error_of_the_producer_is_not_permanent() -> None:
    assert not is_permanent(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "fatal", True))


@pytest.mark.parametrize("error", [BufferError(), RuntimeError("fenced"), TimeoutError(), asyncio.CancelledError()])
def test_a_full_queue_fencing_and_timeouts_are_not_permanent(error: BaseException) -> None:
    assert not is_permanent(error)


@pytest.fixture
async def producer() -> AsyncIterator[BatchingProducer]:
    producer = BatchingProducer("nowhere:1", 5.0, producer=FakeProducer)
    yield producer
    await producer.close()


async def main_producer(producer: BatchingProducer) -> FakeProducer:
    """The librdkafka producer that sends batches, once it has a message."""
    await until(lambda: producer._main.producer.queued)
    return cast(FakeProducer, producer._main.producer)


async def single_producer(producer: BatchingProducer) -> FakeProducer:
    """The librdkafka producer that sends one message per request, once it has a message."""
    lane = await until(lambda: producer._single)
    await until(lambda: lane.producer.queued)
    return cast(FakeProducer, lane.producer)


async def refuse_batch(producer: BatchingProducer) -> None:
    """Refuse the messages that were sent as a batch."""
    (await main_producer(producer)).acknowledge(error=TOO_LARGE)


async def test_a_refused_batch_is_sent_again_one_message_per_request(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    for number in range(3):
        outputs.send("a", b"k", b"%d" % number, [("h", b"v")])
    await refuse_batch(producer)
    single = await single_producer(producer)
    assert [message[2:4] for message in single.queued] == [(b"%d" % n, [("h", b"v")]) for n in range(3)]
    assert single.config["batch.num.messages"] == 1
    single.acknowledge()
    await outputs.acknowledged()


async def test_a_message_refused_twice_is_reported_under_its_origin(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    for number in range(3):
        outputs.origin = number
        outputs.send("a", b"k", b"%d" % number)
    await refuse_batch(producer)
    single = await single_producer(producer)
    single.acknowledge(1)
    single.acknowledge(1, error=TOO_LARGE)
    single.acknowledge()
    await outputs.wait_for_reports()
    assert list(outputs.refusals) == [1]
    (refusal,) = outputs.refusals[1]
    assert (refusal.topic, refusal.value) == ("a", b"1")
    assert "MSG_SIZE_TOO_LARGE" in str(refusal)
    await outputs.acknowledged()  # the current origin is 2, whose message was accepted
    outputs.origin = 1
    with pytest.raises(Refused):
        await outputs.acknowledged()


async def test_a_timeout_of_the_second_attempt_is_not_a_refusal(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    await refuse_batch(producer)
    (await single_producer(producer)).acknowledge(error=KafkaError(KafkaError._MSG_TIMED_OUT))
    with pytest.raises(KafkaException):
        await outputs.wait_for_reports()
    assert outputs.refusals == {}


async def test_messages_sent_one_per_request_are_counted_and_purged(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    await refuse_batch(producer)
    await single_producer(producer)
    assert len(producer) == 1
    producer.purge()
    assert len(producer) == 0
    with pytest.raises(KafkaException):
        await outputs.wait_for_reports()
