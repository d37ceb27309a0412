"""A record is done when its handler has returned and everything that it sent is acknowledged."""

import asyncio
from typing import Any

import pytest

from saga_app.stream import Batch, Outputs, RetryLater
from tests.unit.stream.pool_bench import Bench, send, wait_until

#: The delay of `RetryTwice`, long enough to check the state before the next call (seconds).
RETRY_DELAY_S = 0.2


async def send_async(outputs: Outputs, batch: Batch, record: Any) -> None:
    """A handler that is a coroutine function, and does not wait."""
    send(outputs, batch, record)


class SendCallable:
    """A handler that is an object."""

    async def __call__(self, outputs: Outputs, batch: Batch, record: Any) -> None:
        send(outputs, batch, record)


# -- order and concurrency


@pytest.mark.parametrize("handler", [send, send_async, SendCallable()])
async def test_records_are_done_when_their_outputs_are_acknowledged(bench: Bench, handler: Any) -> None:
    fetched = bench.fetch(0, 1, 2)
    stream = await bench.run(handler, fetched)
    await wait_until(lambda: len(bench.producer.queued) == 3)
    assert [message[2] for message in bench.producer.queued] == [b"0", b"1", b"2"]
    assert (fetched.left, stream.acked) == (3, [])
    bench.producer.acknowledge()
    await wait_until(lambda: stream.acked == [fetched])
    assert (fetched.left, bench.ledger.inflight, bench.app.crashes) == (0, 0, [])


async def test_a_slow_record_does_not_block_others(bench: Bench) -> None:
    bench.producer.auto_acknowledge = True
    released = asyncio.Event()

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        if record.offset == 0:
            await released.wait()

    first, second = bench.fetch(0, 1, 2), bench.fetch(3)
    stream = await bench.run(handler, first, second)
    await wait_until(lambda: (first.left, second.left) == (1, 0))
    assert bench.ledger.committable() == {}
    released.set()
    await wait_until(lambda: first in stream.acked)
    assert list(bench.ledger.committable().values()) == [4]


async def test_records_share_a_task_until_one_of_them_waits(bench: Bench) -> None:
    bench.producer.auto_acknowledge = True
    tasks: dict[int, Any] = {}

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        tasks[record.offset] = asyncio.current_task()
        if record.offset == 2:
            await asyncio.sleep(0.001)

    stream = await bench.run(handler, fetched := bench.fetch(0, 1, 2, 3, 4))
    await wait_until(lambda: stream.acked == [fetched])
    assert tasks[0] is tasks[1] is tasks[2]
    assert len({tasks[2], tasks[3], tasks[4]}) == 3


async def test_records_of_a_partition_start_in_order_even_if_one_waits(bench: Bench) -> None:
    started: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        started.append(record.offset)
        if record.offset == 0:
            await asyncio.sleep(0.001)

    await bench.run(handler, bench.fetch(0, 1), bench.fetch(2), bench.fetch(3, 4))
    await wait_until(lambda: len(started) == 5)
    assert started == [0, 1, 2, 3, 4]


async def test_batches_of_different_partitions_start_in_one_loop_iteration(bench: Bench) -> None:
    batches = [bench.fetch(0, partition=number) for number in range(3)]
    unstarted_counts: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        unstarted_counts.append(sum(not each.is_started for each in batches))

    await bench.run(handler, *batches)
    await wait_until(lambda: len(unstarted_counts) == 3)
    assert unstarted_counts == [0, 0, 0], "a handler ran before all batches were started"


async def test_a_handler_may_wait_for_acknowledgements_and_send_again(bench: Bench) -> None:
    bench.producer.auto_acknowledge = True
    acknowledged: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        send(outputs, batch, record)
        await outputs.acknowledged()
        acknowledged.append(record.offset)
        send(outputs, batch, record)

    stream = await bench.run(handler, fetched := bench.fetch(0))
    await wait_until(lambda: stream.acked == [fetched])
    assert acknowledged == [0]


async def test_no_batch_starts_while_librdkafka_is_full(bench: Bench) -> None:
    bench.app.transport.full = True
    running = asyncio.create_task(bench.run(send_async, fetched := bench.fetch(0)))
    await asyncio.sleep(0.03)
    assert fetched.is_unstarted
    bench.app.transport.full = False
    await running
    assert not fetched.is_unstarted


async def test_two_agents_on_one_topic_are_rejected(bench: Bench) -> None:
    fetched = bench.fetch(0)
    fetched.incref(2)
    with pytest.raises(RuntimeError, match="2 agents"):
        await bench.run(send, fetched)
    assert bench.app.crashes


# -- RetryLater


class RetryTwice:
    """A handler that sends in each call, and returns `RetryLater` in the first two. The state counts the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    async def __call__(self, outputs: Outputs, batch: Batch, record: Any, state: int = 0) -> RetryLater | None:
        self.calls.append((record.offset, state))
        send(outputs, batch, record)
        return RetryLater(RETRY_DELAY_S, state + 1) if state < 2 else None


async def test_a_delayed_record_is_handled_again_with_its_state(bench: Bench) -> None:
    """A delayed record has no task while it waits."""
    bench.producer.auto_acknowledge = True
    stream = await bench.run(handler := RetryTwice(), fetched := bench.fetch(0, 1))
    await wait_until(lambda: len(handler.calls) == 2 and not fetched.tasks)
    assert (fetched.left, bench.ledger.committable()) == (2, {})
    await wait_until(lambda: stream.acked == [fetched])
    assert sorted(handler.calls) == [(offset, state) for offset in (0, 1) for state in (0, 1, 2)]


async def test_a_delayed_record_waits_for_its_acknowledgements(bench: Bench) -> None:
    await bench.run(handler := RetryTwice(), bench.fetch(0))
    await asyncio.sleep(RETRY_DELAY_S * 1.5)
    assert handler.calls == [(0, 0)]
    bench.producer.acknowledge()
    await wait_until(lambda: handler.calls == [(0, 0), (0, 1)])


@pytest.mark.parametrize("event", ["revocation begins", "revoked", "stopped"])
async def test_a_delayed_record_is_left_to_the_next_owner(bench: Bench, event: str) -> None:
    bench.producer.auto_acknowledge = True
    stream = await bench.run(handler := RetryTwice(), fetched := bench.fetch(0))
    await wait_until(lambda: fetched.is_started and not fetched.tasks)
    if event == "revocation begins":
        bench.ledger.close()
    elif event == "revoked":
        bench.ledger.forget()
    else:
        bench.app.should_stop = True
    await asyncio.sleep(RETRY_DELAY_S * 1.5)
    assert (handler.calls, fetched.left, stream.acked, bench.app.crashes) == ([(0, 0)], 1, [], [])


# -- errors, timeouts, revoked partitions


async def fail_async(outputs: Outputs, batch: Batch, record: Any) -> None:
    raise ValueError("unexpected")


def fail(outputs: Outputs, batch: Batch, record: Any) -> None:
    raise ValueError("unexpected")


@pytest.mark.parametrize("handler", [fail_async, fail])
async def test_an_unexpected_error_crashes_the_worker_and_finishes_nothing(bench: Bench, handler: Any) -> None:
    stream = await bench.run(handler, fetched := bench.fetch(0, 1))
    await wait_until(lambda: bench.app.crashes)
    assert str(bench.app.crashes[0]) == "unexpected"
    assert (fetched.left, stream.acked, bench.ledger.committable()) == (2, [], {})


async def test_acknowledgements_have_a_timeout_of_their_own(bench: Bench) -> None:
    """A handler that takes longer than `ack_s` does not time out; its unacknowledged output does."""

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        await asyncio.sleep(0.05)
        send(outputs, batch, record)

    stream = await bench.run(handler, fetched := bench.fetch(0), timeout_s=5, ack_s=0.02)
    await wait_until(lambda: bench.app.crashes)
    assert isinstance(bench.app.crashes[0], TimeoutError)
    assert (fetched.left, stream.acked) == (1, [])


async def test_a_handler_that_hangs_crashes_the_worker_after_its_timeout(bench: Bench) -> None:
    async def hang(outputs: Outputs, batch: Batch, record: Any) -> None:
        await asyncio.Event().wait()

    await bench.run(hang, bench.fetch(0), timeout_s=0.02)
    await wait_until(lambda: bench.app.crashes)
    assert isinstance(bench.app.crashes[0], TimeoutError)


async def test_records_of_a_revoked_batch_are_left_to_the_next_owner(bench: Bench) -> None:
    fetched = bench.fetch(0)
    bench.ledger.forget()
    stream = await bench.run(fail_async, fetched)
    await asyncio.sleep(0.02)
    assert (bench.app.crashes, fetched.is_started, stream.acked) == ([], False, [])


@pytest.mark.parametrize("handler", [send, send_async])
async def test_a_failure_after_a_revocation_does_not_crash_the_worker(bench: Bench, handler: Any) -> None:
    stream = await bench.run(handler, fetched := bench.fetch(0))
    await wait_until(lambda: bench.producer.queued)
    bench.batching_producer.purge()
    bench.ledger.forget()
    await wait_until(lambda: fetched.is_started and not fetched.tasks)
    assert (bench.app.crashes, stream.acked) == ([], [])
