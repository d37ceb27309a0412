"""`Fetcher` reads from the positions that aiokafka keeps, also after seeks: each record once and in order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from statistics import median

import pytest
from aiokafka.consumer.subscription_state import Assignment, TopicPartitionState
from confluent_kafka import Consumer, Producer, TopicPartition
from faust.types import TP
from structlog.testing import capture_logs

from saga_app.local.broker import Broker
from saga_app.stream.consume.fetcher import Fetcher, Loss

ORDERS_0, ORDERS_1 = TP("orders", 0), TP("orders", 1)

#: A partition that is fetched after others, as a worker fetches its requests after its changelog.
BILLS_0 = TP("bills", 0)


class FetcherHarness:
    """A fetcher, the positions of two partitions, and the numbers in the fetched records."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.losses: list[Loss] = []
        self.fetcher = Fetcher(bootstrap, wait_ms=50, on_loss=self.losses.append)
        assignment = Assignment([ORDERS_0, ORDERS_1])
        self.states: dict[TP, TopicPartitionState] = {tp: assignment.state_value(tp) for tp in (ORDERS_0, ORDERS_1)}
        for state in self.states.values():
            state.reset_to(0)
        self.found: dict[TP, list[int]] = {ORDERS_0: [], ORDERS_1: []}
        #: The identities of the header names and of the first header value of each record.
        self.header_objects: set[tuple[int, int]] = set()

    def write(self, tp: TP, *numbers: int) -> None:
        """Write a record with two headers for each number."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for number in numbers:
            headers: list[tuple[str, str | bytes | None]] = [("kind", b"order"), ("n", b"%d" % number)]
            producer.produce(tp.topic, b"%d" % number, b"key", tp.partition, headers=headers)
        assert producer.flush(10) == 0

    def write_large(self, tp: TP, count: int, size_bytes: int) -> None:
        """Write `count` records, each in its own batch."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "batch.num.messages": 1})
        for _ in range(count):
            producer.produce(tp.topic, b"x" * size_bytes, b"key", tp.partition)
        assert producer.flush(20) == 0

    def first_offset(self, tp: TP) -> int:
        """The low watermark of a partition."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused"})
        first, _ = consumer.get_watermark_offsets(TopicPartition(*tp), 10)
        consumer.close()
        return int(first)

    async def read(self, tp: TP, count: int, *only: TP, most: int = 1000) -> list[int]:
        """Fetch until `count` records of `tp` were found since the start; return their numbers.

        Fetches from the partitions `only`, by default from both, and at most `most` records at a time.
        """
        states = {each: self.states[each] for each in only or self.states}
        deadline = time.monotonic() + 15
        while len(self.found[tp]) < count and time.monotonic() < deadline:
            for each, run in (await self.fetcher.fetch(states, 0.1, most)).items():
                assert [record.headers for record in run] == [
                    [("kind", b"order"), ("n", record.value)] for record in run
                ]
                self.found[each] += [int(record.value or b"") for record in run]
                self.header_objects |= {(id(record.names), id(record.values[0])) for record in run}
        return self.found[tp]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(topics={"orders": 2, "bills": 1}) as running:
        yield running


@pytest.fixture
async def harness(broker: Broker) -> AsyncIterator[FetcherHarness]:
    """A harness whose positions are at the beginning of both partitions."""
    harness = FetcherHarness(broker.bootstrap)
    yield harness
    await harness.fetcher.close()


async def test_records_are_fetched_once_and_in_order_and_positions_advance(harness: FetcherHarness) -> None:
    harness.write(ORDERS_0, *range(500))
    harness.write(ORDERS_1, *range(30))
    assert await harness.read(ORDERS_0, 500, most=7) == [*range(500)]
    assert await harness.read(ORDERS_1, 30) == [*range(30)]
    assert [state.position for state in harness.states.values()] == [500, 30]


async def test_the_first_record_of_a_fetcher_is_not_delayed_by_librdkafka(broker: Broker) -> None:
    """librdkafka queries unknown leaders every 0.5 s; a median below that shows that `Fetcher` does not wait."""
    took: list[float] = []
    for number in range(5):
        harness = FetcherHarness(broker.bootstrap)
        harness.write(BILLS_0, number)
        harness.write(ORDERS_0, number)
        await harness.read(ORDERS_0, 1)
        state = Assignment([BILLS_0]).state_value(BILLS_0)
        state.reset_to(0)
        began = time.monotonic()
        while not await harness.fetcher.fetch({BILLS_0: state}, 0.1):
            pass
        took.append(time.monotonic() - began)
        await harness.fetcher.close()
    assert median(took) < 0.4, took


async def test_equal_header_values_of_many_records_share_one_object(harness: FetcherHarness) -> None:
    harness.write(ORDERS_0, *range(2000))
    await harness.read(ORDERS_0, 2000)
    assert len(harness.header_objects) == 1


async def test_after_a_seek_a_partition_is_read_again_from_that_offset(harness: FetcherHarness) -> None:
    harness.write(ORDERS_0, *range(10))
    harness.write(ORDERS_1, *range(10))
    await harness.read(ORDERS_0, 10)
    await harness.read(ORDERS_1, 10)
    harness.states[ORDERS_0].seek(4)
    harness.write(ORDERS_1, 10)
    assert await harness.read(ORDERS_0, 16) == [*range(10), *range(4, 10)]
    assert await harness.read(ORDERS_1, 11) == [*range(11)]


async def test_records_prefetched_before_a_seek_are_dropped(harness: FetcherHarness) -> None:
    harness.write(ORDERS_0, *range(5000))
    for place in (3000, 3, 4990, 10):
        harness.found[ORDERS_0].clear()
        await harness.read(ORDERS_0, 1, most=7)
        harness.states[ORDERS_0].seek(place)
        harness.found[ORDERS_0].clear()
        assert (await harness.read(ORDERS_0, 5, most=7))[:5] == [*range(place, place + 5)]


async def test_a_partition_that_is_not_fetched_for_a_while_loses_no_record(harness: FetcherHarness) -> None:
    harness.write(ORDERS_0, *range(5))
    await harness.read(ORDERS_0, 5)
    harness.write(ORDERS_0, *range(5, 9))
    harness.write(ORDERS_1, *range(3))
    assert await harness.read(ORDERS_1, 3, ORDERS_1) == [0, 1, 2]
    assert harness.found[ORDERS_0] == [*range(5)]
    assert await harness.read(ORDERS_0, 9) == [*range(9)]


async def test_a_cancelled_fetch_loses_no_record(harness: FetcherHarness) -> None:
    for number in range(20):
        fetching = asyncio.create_task(harness.fetcher.fetch(harness.states, 0.2))
        await asyncio.sleep(0.01 * (number % 3))
        harness.write(ORDERS_0, number)
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        if not fetching.cancelled():
            harness.found[ORDERS_0] += [int(record.value or b"") for record in fetching.result().get(ORDERS_0, [])]
    assert await harness.read(ORDERS_0, 20) == [*range(20)]


async def test_a_position_out_of_range_is_read_after_aiokafka_resets_it(harness: FetcherHarness) -> None:
    harness.write(ORDERS_0, 0, 1, 2)
    harness.states[ORDERS_0].seek(1000)
    deadline = time.monotonic() + 15
    while not harness.states[ORDERS_0].awaiting_reset and time.monotonic() < deadline:
        await harness.fetcher.fetch(harness.states, 0.1)
    assert harness.states[ORDERS_0].awaiting_reset
    harness.states[ORDERS_0].reset_to(0)  # as aiokafka does
    assert await harness.read(ORDERS_0, 3) == [0, 1, 2]
    assert harness.losses == [Loss(ORDERS_0, 1000, None)]


@pytest.mark.field(34)
async def test_unread_records_deleted_by_retention_are_reported(
    harness: FetcherHarness, now: Callable[[str], None]
) -> None:
    """The embedded broker drops the oldest batches of a partition that holds 5 MiB: here 100 records of 100 kB."""
    harness.write_large(ORDERS_1, 100, 100_000)
    deadline = time.monotonic() + 15
    while not harness.states[ORDERS_1].awaiting_reset and time.monotonic() < deadline:
        await harness.fetcher.fetch(harness.states, 0.1)
    first = harness.first_offset(ORDERS_1)
    assert first > 0
    harness.states[ORDERS_1].reset_to(first)  # as aiokafka does
    with capture_logs() as logs:
        await harness.fetcher.fetch(harness.states, 0.1)
    assert harness.losses == [Loss(ORDERS_1, 0, first)]
    assert [(line["partition"], line["first_offset"], line["last_offset"]) for line in logs] == [
        ("orders[1]", 0, first - 1)
    ]
    assert harness.fetcher.take_skipped() == {ORDERS_1: (0, first)}, "a restart would report the loss again"
    now(str(harness.losses[0]))


@pytest.mark.field(34)
async def test_losses_of_a_partition_given_away_are_not_reported_later(harness: FetcherHarness) -> None:
    harness.write(ORDERS_0, 0, 1, 2)
    harness.states[ORDERS_0].seek(1000)
    deadline = time.monotonic() + 15
    while not harness.states[ORDERS_0].awaiting_reset and time.monotonic() < deadline:
        await harness.fetcher.fetch(harness.states, 0.1)
    await harness.fetcher.fetch({ORDERS_1: harness.states[ORDERS_1]}, 0.1)
    harness.states[ORDERS_0].reset_to(0)
    assert await harness.read(ORDERS_0, 3) == [0, 1, 2]
    assert harness.losses == []
