"""Which errors of the broker are permanent, and what a refused message does to the others."""

import asyncio
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from saga_app.stream import Outputs, Refused
from saga_app.stream.produce.batching_producer import BatchingProducer
from saga_app.stream.produce.refusal import is_permanent
from tests.fakes.stream import FakeProducer

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
def test_what_concerns_the_message_or_its_topic_is_permanent(name: str) -> None:
    error = KafkaError(getattr(KafkaError, name))
    assert is_permanent(error)
    assert is_permanent(KafkaException(error))


@pytest.mark.parametrize("name", TRANSIENT)
def test_what_concerns_the_broker_or_the_producer_is_not(name: str) -> None:
    assert not is_permanent(KafkaError(getattr(KafkaError, name)))


def test_a_fatal_error_is_the_producers_whatever_its_code() -> None:
    assert not is_permanent(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "fatal", True))


@pytest.mark.parametrize("error", [BufferError(), RuntimeError("fenced"), TimeoutError(), asyncio.CancelledError()])
def test_a_full_queue_fencing_and_timeouts_are_not(error: BaseException) -> None:
    assert not is_permanent(error)


@pytest.fixture
async def producer() -> Any:
    made = BatchingProducer("nowhere:1", 5.0, producer=FakeProducer)
    yield made
    await made.close()


async def taken(producer: BatchingProducer, alone: bool = False) -> FakeProducer:
    """The producer of most messages, or the one of those that are sent alone, once it has been given any."""
    async with asyncio.timeout(2):
        while True:
            lane = producer._single if alone else producer._main
            if lane and lane.producer.taken:
                return cast(FakeProducer, lane.producer)
            await asyncio.sleep(0.001)


async def refuse(producer: BatchingProducer) -> None:
    """The broker refuses the batch that is under way."""
    (await taken(producer)).acknowledge(error=TOO_LARGE)


async def test_a_refused_batch_is_sent_again_one_message_to_a_request(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    for number in range(3):
        outputs.send("a", b"k", b"%d" % number, [("h", b"v")])
    await refuse(producer)
    alone = await taken(producer, alone=True)
    assert [message[2:4] for message in alone.taken] == [(b"%d" % n, [("h", b"v")]) for n in range(3)]
    assert alone.config["batch.num.messages"] == 1
    alone.acknowledge()
    await outputs.acknowledged()


async def test_what_is_refused_alone_too_is_known_by_the_record_that_sent_it(
    producer: BatchingProducer,
) -> None:
    outputs = Outputs(producer)
    for number in range(3):
        outputs.origin = number
        outputs.send("a", b"k", b"%d" % number)
    await refuse(producer)
    alone = await taken(producer, alone=True)
    alone.acknowledge(1)
    alone.acknowledge(1, error=TOO_LARGE)
    alone.acknowledge()
    await outputs.wait_for_reports()
    assert list(outputs.refusals) == [1]
    (refusal,) = outputs.refusals[1]
    assert (refusal.topic, refusal.value) == ("a", b"1")
    assert "MSG_SIZE_TOO_LARGE" in str(refusal)
    await outputs.acknowledged()  # of the last record
    outputs.origin = 1
    with pytest.raises(Refused):
        await outputs.acknowledged()


async def test_an_outage_during_the_second_try_is_no_refusal(producer: BatchingProducer) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    await refuse(producer)
    (await taken(producer, alone=True)).acknowledge(error=KafkaError(KafkaError._MSG_TIMED_OUT))
    with pytest.raises(KafkaException):
        await outputs.wait_for_reports()
    assert outputs.refusals == {}


async def test_what_is_sent_alone_is_counted_purged_and_gated_like_the_rest(
    producer: BatchingProducer,
) -> None:
    outputs = Outputs(producer)
    outputs.send("a", b"k", b"v")
    await refuse(producer)
    await taken(producer, alone=True)
    assert len(producer) == 1
    producer.purge()
    assert len(producer) == 0
    with pytest.raises(KafkaException):
        await outputs.wait_for_reports()
