"""Records are fetched from the positions that aiokafka keeps: each once and in order, wherever those are moved."""

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

ONE, OTHER = TP("orders", 0), TP("orders", 1)

#: Of a topic that is read from later on, as those of a worker are that has read its changelog first.
LATER = TP("bills", 0)


class Reading:
    """A fetcher, the positions of two partitions, and what was fetched."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.losses: list[Loss] = []
        self.fetcher = Fetcher(bootstrap, wait_ms=50, on_loss=self.losses.append)
        assignment = Assignment([ONE, OTHER])
        self.states: dict[TP, TopicPartitionState] = {tp: assignment.state_value(tp) for tp in (ONE, OTHER)}
        for state in self.states.values():
            state.reset_to(0)
        self.found: dict[TP, list[int]] = {ONE: [], OTHER: []}
        self.shared: set[tuple[int, int]] = set()  #: the names of their headers, and what is the same in all of them

    def write(self, tp: TP, *numbers: int) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for number in numbers:
            headers = [("kind", b"order"), ("n", b"%d" % number)]
            producer.produce(tp.topic, b"%d" % number, b"key", tp.partition, headers=headers)
        assert producer.flush(10) == 0

    def write_large(self, tp: TP, count: int, size_bytes: int) -> None:
        """So many records, each in a batch of its own."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "batch.num.messages": 1})
        for _ in range(count):
            producer.produce(tp.topic, b"x" * size_bytes, b"key", tp.partition)
        assert producer.flush(20) == 0

    def first(self, tp: TP) -> int:
        """The offset of the first record that is still there."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "first"})
        first, _ = consumer.get_watermark_offsets(TopicPartition(*tp), 10)
        consumer.close()
        return int(first)

    async def read(self, tp: TP, count: int, *only: TP, most: int = 1000) -> list[int]:
        """Fetch until so many of a partition have been found in all."""
        states = {each: self.states[each] for each in only or self.states}
        deadline = time.monotonic() + 15
        while len(self.found[tp]) < count and time.monotonic() < deadline:
            for each, run in (await self.fetcher.fetch(states, 0.1, most)).items():
                assert [record.headers for record in run] == [
                    [("kind", b"order"), ("n", record.value)] for record in run
                ]
                self.found[each] += [int(record.value or b"") for record in run]
                self.shared |= {(id(record.names), id(record.values[0])) for record in run}
        return self.found[tp]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(topics={"orders": 2, "bills": 1}) as made:
        yield made


@pytest.fixture
async def reading(broker: Broker) -> AsyncIterator[Reading]:
    made = Reading(broker.bootstrap)
    yield made
    await made.fetcher.close()


async def test_each_record_comes_once_in_order_with_its_headers_and_the_positions_move(reading: Reading) -> None:
    reading.write(ONE, *range(500))
    reading.write(OTHER, *range(30))
    assert await reading.read(ONE, 500, most=7) == [*range(500)]
    assert await reading.read(OTHER, 30) == [*range(30)]
    assert [state.position for state in reading.states.values()] == [500, 30]


async def test_a_first_record_does_not_wait_until_librdkafka_looks_for_its_leader(broker: Broker) -> None:
    """Which it does half a second later: the median of five shows that it is not waited for."""
    took: list[float] = []
    for number in range(5):
        reading = Reading(broker.bootstrap)
        reading.write(LATER, number)
        reading.write(ONE, number)
        await reading.read(ONE, 1)
        state = Assignment([LATER]).state_value(LATER)
        state.reset_to(0)
        began = time.monotonic()
        while not await reading.fetcher.fetch({LATER: state}, 0.1):
            pass
        took.append(time.monotonic() - began)
        await reading.fetcher.close()
    assert median(took) < 0.4, took


async def test_a_header_that_is_the_same_in_all_records_is_held_once(reading: Reading) -> None:
    reading.write(ONE, *range(2000))
    await reading.read(ONE, 2000)
    assert len(reading.shared) == 1


async def test_a_partition_that_was_sought_is_read_again_from_there_and_the_other_goes_on(reading: Reading) -> None:
    reading.write(ONE, *range(10))
    reading.write(OTHER, *range(10))
    await reading.read(ONE, 10)
    await reading.read(OTHER, 10)
    reading.states[ONE].seek(4)
    reading.write(OTHER, 10)
    assert await reading.read(ONE, 16) == [*range(10), *range(4, 10)]
    assert await reading.read(OTHER, 11) == [*range(11)]


async def test_what_was_read_ahead_of_a_position_that_is_sought_is_forgotten(reading: Reading) -> None:
    reading.write(ONE, *range(5000))
    for place in (3000, 3, 4990, 10):
        reading.found[ONE].clear()
        await reading.read(ONE, 1, most=7)
        reading.states[ONE].seek(place)
        reading.found[ONE].clear()
        assert (await reading.read(ONE, 5, most=7))[:5] == [*range(place, place + 5)]


async def test_one_that_is_not_wanted_for_a_while_loses_nothing(reading: Reading) -> None:
    reading.write(ONE, *range(5))
    await reading.read(ONE, 5)
    reading.write(ONE, *range(5, 9))
    reading.write(OTHER, *range(3))
    assert await reading.read(OTHER, 3, OTHER) == [0, 1, 2]
    assert reading.found[ONE] == [*range(5)]
    assert await reading.read(ONE, 9) == [*range(9)]


async def test_a_fetch_that_is_cancelled_takes_nothing_away(reading: Reading) -> None:
    for number in range(20):
        fetching = asyncio.create_task(reading.fetcher.fetch(reading.states, 0.2))
        await asyncio.sleep(0.01 * (number % 3))
        reading.write(ONE, number)
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        if not fetching.cancelled():
            reading.found[ONE] += [int(record.value or b"") for record in fetching.result().get(ONE, [])]
    assert await reading.read(ONE, 20) == [*range(20)]


async def test_a_position_that_is_not_there_waits_to_be_reset_and_is_then_read(reading: Reading) -> None:
    reading.write(ONE, 0, 1, 2)
    reading.states[ONE].seek(1000)
    deadline = time.monotonic() + 15
    while not reading.states[ONE].awaiting_reset and time.monotonic() < deadline:
        await reading.fetcher.fetch(reading.states, 0.1)
    assert reading.states[ONE].awaiting_reset
    reading.states[ONE].reset_to(0)  # aiokafka does
    assert await reading.read(ONE, 3) == [0, 1, 2]
    assert reading.losses == [Loss(ONE, 1000, None)]


@pytest.mark.field(34)
async def test_records_that_retention_deleted_before_they_were_read_are_named(
    reading: Reading, now: Callable[[str], None]
) -> None:
    """The embedded broker drops the oldest batches of a partition that has 5 MiB; here with 100 records of 100 kB."""
    reading.write_large(OTHER, 100, 100_000)
    deadline = time.monotonic() + 15
    while not reading.states[OTHER].awaiting_reset and time.monotonic() < deadline:
        await reading.fetcher.fetch(reading.states, 0.1)
    first = reading.first(OTHER)
    assert first > 0
    reading.states[OTHER].reset_to(first)  # aiokafka does
    with capture_logs() as logs:
        await reading.fetcher.fetch(reading.states, 0.1)
    assert reading.losses == [Loss(OTHER, 0, first)]
    assert [(line["partition"], line["first_offset"], line["last_offset"]) for line in logs] == [
        ("orders[1]", 0, first - 1)
    ]
    assert reading.fetcher.take_skipped() == {OTHER: (0, first)}, "a restart does not report it again"
    now(str(reading.losses[0]))


@pytest.mark.field(34)
async def test_what_was_lost_of_a_partition_that_is_given_away_is_not_reported_later(reading: Reading) -> None:
    reading.write(ONE, 0, 1, 2)
    reading.states[ONE].seek(1000)
    deadline = time.monotonic() + 15
    while not reading.states[ONE].awaiting_reset and time.monotonic() < deadline:
        await reading.fetcher.fetch(reading.states, 0.1)
    await reading.fetcher.fetch({OTHER: reading.states[OTHER]}, 0.1)
    reading.states[ONE].reset_to(0)
    assert await reading.read(ONE, 3) == [0, 1, 2]
    assert reading.losses == []
