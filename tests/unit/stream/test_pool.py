"""A record is done when its handler has returned and everything it sent is acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from saga_app.stream import Batch, Outputs, Pool, Refused, RetryLater
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.produce.batching_producer import BatchingProducer
from tests.fakes.stream import FakeProducer, batch


class FakeApp:
    """An app that notes why it was crashed."""

    def __init__(self, producer: BatchingProducer) -> None:
        self.should_stop = False
        self.crashes: list[BaseException] = []
        self.log = SimpleNamespace(error=lambda *args, **kwargs: None)
        self.transport = SimpleNamespace(new_outputs=lambda: Outputs(producer), full=False)

    async def crash(self, error: BaseException) -> None:
        self.should_stop = True
        self.crashes.append(error)


class FakeStream:
    """A stream of these batches; notes which were acknowledged to Faust."""

    def __init__(self, *batches: Batch) -> None:
        self._batches = batches
        self.channel = SimpleNamespace(queue=asyncio.Queue())
        self.acked: list[Batch] = []

    def noack(self) -> "FakeStream":
        return self

    async def events(self) -> AsyncIterator[Any]:
        for made in self._batches:
            yield SimpleNamespace(message=made)

    async def ack(self, event: Any) -> None:
        self.acked.append(event.message)


class Bench:
    """A pool, and everything around it."""

    def __init__(self) -> None:
        self.batching = BatchingProducer("nowhere:1", 5.0, producer=FakeProducer)
        self.producer: Any = self.batching._main.producer
        self.app = FakeApp(self.batching)
        self.ledger = Ledger(100)

    def batch(self, *offsets: int) -> Batch:
        return self.ledger.add(batch(offsets))

    async def run(self, handler: Any, *batches: Batch, **settings: Any) -> FakeStream:
        """Hand the batches to the pool; the handlers go on afterwards."""
        stream, app = FakeStream(*batches), self.app
        await Pool(app, handler, **settings).run(stream)  # type: ignore[arg-type]
        return stream


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.batching.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.001)


def send(outputs: Outputs, batch: Batch, record: Any) -> None:
    outputs.send("out", record.key, b"%d" % record.offset)


async def send_too(outputs: Outputs, batch: Batch, record: Any) -> None:
    send(outputs, batch, record)


class Callable_:
    async def __call__(self, outputs: Outputs, batch: Batch, record: Any) -> None:
        send(outputs, batch, record)


@pytest.mark.parametrize("handler", [send, send_too, Callable_()])
async def test_records_are_done_when_what_they_sent_is_acknowledged(bench: Bench, handler: Any) -> None:
    made = bench.batch(0, 1, 2)
    stream = await bench.run(handler, made)
    await until(lambda: len(bench.producer.taken) == 3)
    assert [message[2] for message in bench.producer.taken] == [b"0", b"1", b"2"], "in the order of the records"
    assert (made.left, stream.acked) == (3, [])
    bench.producer.acknowledge()
    await until(lambda: stream.acked == [made])
    assert (made.left, bench.ledger.inflight, bench.app.crashes) == (0, 0, [])


async def test_a_slow_record_holds_up_no_other(bench: Bench) -> None:
    bench.producer.automatic = True
    slow = asyncio.Event()

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        if record.offset == 0:
            await slow.wait()

    first, second = bench.batch(0, 1, 2), bench.batch(3)
    stream = await bench.run(handler, first, second)
    await until(lambda: (first.left, second.left) == (1, 0))
    assert bench.ledger.committable() == {}
    slow.set()
    await until(lambda: first in stream.acked)
    assert list(bench.ledger.committable().values()) == [4]


async def test_what_need_not_wait_shares_one_task_and_who_waits_gets_one(bench: Bench) -> None:
    bench.producer.automatic = True
    tasks: dict[int, Any] = {}

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        tasks[record.offset] = asyncio.current_task()
        if record.offset == 2:
            await asyncio.sleep(0.001)

    stream = await bench.run(handler, made := bench.batch(0, 1, 2, 3, 4))
    await until(lambda: stream.acked == [made])
    assert tasks[0] is tasks[1] is tasks[2]
    assert len({tasks[2], tasks[3], tasks[4]}) == 3


async def test_batches_of_a_partition_begin_in_order_though_a_record_waits(bench: Bench) -> None:
    begun: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        begun.append(record.offset)
        if record.offset == 0:
            await asyncio.sleep(0.001)

    await bench.run(handler, bench.batch(0, 1), bench.batch(2), bench.batch(3, 4))
    await until(lambda: len(begun) == 5)
    assert begun == [0, 1, 2, 3, 4]


async def test_batches_of_different_partitions_need_one_turn_of_the_loop_for_all(bench: Bench) -> None:
    batches = [bench.ledger.add(batch([0], partition=number)) for number in range(3)]
    left: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        left.append(sum(not made.is_started for made in batches))

    await bench.run(handler, *batches)
    await until(lambda: len(left) == 3)
    assert left == [0, 0, 0], "all were begun before the first had its turn"


#: Long enough to be looked at meanwhile (seconds).
PUT_OFF_S = 0.2


class PutOff:
    """Sends each time it is called, and is done the third time."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    async def __call__(self, outputs: Outputs, batch: Batch, record: Any, tried: int = 0) -> RetryLater | None:
        self.calls.append((record.offset, tried))
        send(outputs, batch, record)
        return RetryLater(PUT_OFF_S, tried + 1) if tried < 2 else None


async def test_who_wants_its_record_later_gets_it_back_with_what_it_left_and_holds_no_task(bench: Bench) -> None:
    bench.producer.automatic = True
    stream = await bench.run(handler := PutOff(), made := bench.batch(0, 1))
    await until(lambda: len(handler.calls) == 2 and not made.tasks)
    assert (made.left, bench.ledger.committable()) == (2, {})
    await until(lambda: stream.acked == [made])
    assert sorted(handler.calls) == [(offset, tried) for offset in (0, 1) for tried in (0, 1, 2)]


async def test_it_does_not_come_again_before_what_it_has_sent_is_acknowledged(bench: Bench) -> None:
    await bench.run(handler := PutOff(), bench.batch(0))
    await asyncio.sleep(PUT_OFF_S * 1.5)
    assert handler.calls == [(0, 0)]
    bench.producer.acknowledge()
    await until(lambda: handler.calls == [(0, 0), (0, 1)])


@pytest.mark.parametrize("how", ["given back", "revoked", "stopped"])
async def test_what_was_put_off_is_left_to_the_new_owner(bench: Bench, how: str) -> None:
    bench.producer.automatic = True
    stream = await bench.run(handler := PutOff(), made := bench.batch(0))
    await until(lambda: made.is_started and not made.tasks)
    if how == "given back":
        bench.ledger.close()
    elif how == "revoked":
        bench.ledger.forget()
    else:
        bench.app.should_stop = True
    await asyncio.sleep(PUT_OFF_S * 1.5)
    assert (handler.calls, made.left, stream.acked, bench.app.crashes) == ([(0, 0)], 1, [], [])


async def test_a_handler_may_settle_in_between_and_send_more(bench: Bench) -> None:
    bench.producer.automatic = True
    told = []

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        send(outputs, batch, record)
        await outputs.acknowledged()
        told.append(record.offset)
        send(outputs, batch, record)

    stream = await bench.run(handler, made := bench.batch(0))
    await until(lambda: stream.acked == [made])
    assert told == [0]


async def fail(outputs: Outputs, batch: Batch, record: Any) -> None:
    raise ValueError("unexpected")


def fail_inline(outputs: Outputs, batch: Batch, record: Any) -> None:
    raise ValueError("unexpected")


@pytest.mark.parametrize("handler", [fail, fail_inline])
async def test_an_unexpected_error_crashes_the_worker_and_leaves_the_record_undone(bench: Bench, handler: Any) -> None:
    stream = await bench.run(handler, made := bench.batch(0, 1))
    await until(lambda: bench.app.crashes)
    assert str(bench.app.crashes[0]) == "unexpected"
    assert (made.left, stream.acked, bench.ledger.committable()) == (2, [], {})


async def test_a_handler_has_its_time_and_the_acknowledgements_have_theirs(bench: Bench) -> None:
    async def slow(outputs: Outputs, batch: Batch, record: Any) -> None:
        await asyncio.sleep(0.05)
        send(outputs, batch, record)

    stream = await bench.run(slow, made := bench.batch(0), timeout_s=5, ack_s=0.02)
    await until(lambda: bench.app.crashes)
    assert isinstance(bench.app.crashes[0], TimeoutError), "it was not acknowledged in time, though the handler was"
    assert (made.left, stream.acked) == (1, [])


async def test_a_handler_that_hangs_crashes_the_worker_when_its_time_is_over(bench: Bench) -> None:
    async def hang(outputs: Outputs, batch: Batch, record: Any) -> None:
        await asyncio.Event().wait()

    await bench.run(hang, bench.batch(0), timeout_s=0.02)
    await until(lambda: bench.app.crashes)
    assert isinstance(bench.app.crashes[0], TimeoutError)


async def test_records_of_a_revoked_batch_are_left_to_the_new_owner(bench: Bench) -> None:
    made = bench.batch(0)
    bench.ledger.forget()
    stream = await bench.run(fail, made)
    await asyncio.sleep(0.02)
    assert (bench.app.crashes, made.is_started, stream.acked) == ([], False, [])


@pytest.mark.parametrize("handler", [send, send_too])
async def test_what_fails_because_its_partition_was_revoked_is_no_reason_to_crash(bench: Bench, handler: Any) -> None:
    stream = await bench.run(handler, made := bench.batch(0))
    await until(lambda: bench.producer.taken)
    bench.batching.purge()
    bench.ledger.forget()
    await until(lambda: made.is_started and not made.tasks)
    assert (bench.app.crashes, stream.acked) == ([], [])


async def test_nothing_new_begins_while_librdkafka_is_full(bench: Bench) -> None:
    bench.app.transport.full = True
    running = asyncio.create_task(bench.run(send_too, made := bench.batch(0)))
    await asyncio.sleep(0.03)
    assert made.is_unstarted
    bench.app.transport.full = False
    await running
    assert not made.is_unstarted


async def test_two_agents_on_one_topic_are_refused(bench: Bench) -> None:
    made = bench.batch(0)
    made.incref(2)
    with pytest.raises(RuntimeError, match="2 agents"):
        await bench.run(send, made)
    assert bench.app.crashes


class Parking:
    """Parks a record in `parked` when what it sent was refused; notes what it was asked about."""

    def __init__(self, parks: bool = True, letters_refused: int = 0) -> None:
        self.asked: list[tuple[int, list[str], int]] = []
        self.parks, self.letters_refused = parks, letters_refused

    async def __call__(self, outputs: Outputs, record: Any, refusals: list[Refused], tries: int) -> bool:
        self.asked.append((record.offset, [refusal.topic for refusal in refusals], tries))
        if self.parks:
            outputs.send("refused" if len(self.asked) <= self.letters_refused else "parked", record.key, b"")
        return self.parks


async def send_odd_ones_to_a_topic_that_refuses(outputs: Outputs, _batch: Batch, record: Any) -> None:
    outputs.send("refused" if record.offset % 2 else "out", record.key, b"%d" % record.offset)


@pytest.mark.field(32)
async def test_only_the_records_whose_output_was_refused_are_parked(bench: Bench) -> None:
    bench.producer.automatic = True
    made = bench.batch(0, 1, 2, 3)
    stream = await bench.run(send_odd_ones_to_a_topic_that_refuses, made, on_refusal=(parking := Parking()))
    await until(lambda: stream.acked == [made])
    assert parking.asked == [(1, ["refused"], 0), (3, ["refused"], 0)]
    assert bench.app.crashes == []


@pytest.mark.field(32)
async def test_a_letter_that_is_refused_too_is_asked_for_again(bench: Bench) -> None:
    bench.producer.automatic = True
    made = bench.batch(1)
    parking = Parking(letters_refused=2)
    stream = await bench.run(send_odd_ones_to_a_topic_that_refuses, made, on_refusal=parking)
    await until(lambda: stream.acked == [made])
    assert parking.asked == [(1, ["refused"], tries) for tries in range(3)]


@pytest.mark.field(32)
async def test_a_handler_that_waits_for_what_is_refused_ends_there(bench: Bench) -> None:
    bench.producer.automatic = True
    went_on: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        await send_odd_ones_to_a_topic_that_refuses(outputs, batch, record)
        await outputs.acknowledged()
        went_on.append(record.offset)

    stream = await bench.run(handler, made := bench.batch(0, 1, 2), on_refusal=Parking())
    await until(lambda: stream.acked == [made])
    assert sorted(went_on) == [0, 2]


@pytest.mark.field(32)
@pytest.mark.parametrize(("parks", "calls"), [(True, 1), (False, 2)])
async def test_a_record_that_is_put_off_comes_again_unless_it_was_parked(bench: Bench, parks: bool, calls: int) -> None:
    bench.producer.automatic = True
    called: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any, tried: int = 0) -> RetryLater | None:
        called.append(tried)
        outputs.send("refused", record.key, b"")
        return None if tried else RetryLater(0.01, 1)

    stream = await bench.run(handler, made := bench.batch(0), on_refusal=Parking(parks))
    await until(lambda: stream.acked == [made])
    assert len(called) == calls


@pytest.mark.field(32)
async def test_without_anybody_to_park_it_a_refusal_crashes_the_worker(bench: Bench) -> None:
    await bench.run(send_odd_ones_to_a_topic_that_refuses, bench.batch(1))
    await until(lambda: bench.app.crashes)
    assert isinstance(bench.app.crashes[0], Refused)
