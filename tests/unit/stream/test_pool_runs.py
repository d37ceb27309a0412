"""Records that begin together are handled together, and none waits for another."""

import asyncio
from functools import partial
from typing import Any

import pytest

from saga_app.stream import Batch, Outputs
from saga_app.stream.consume.run import Run
from tests.unit.stream.pool_bench import Bench, send, wait_until


def handle_alone(outputs: Outputs, batch: Batch, record: Any) -> None:
    pytest.fail("the run did not handle this record")


class RunHandler:
    """Sends for each record of a run. Records at offset 9 fail, those at offset 8 wait until `released`."""

    def __init__(self) -> None:
        self.runs: list[list[tuple[int, int]]] = []
        self.released = asyncio.Event()

    async def __call__(self, run: Run) -> None:
        self.runs.append([(item.batch.partition, item.record.offset) for item in run.items])
        for number, item in enumerate(run.items):
            run.outputs.origin = number
            if item.record.offset == 9:
                raise ValueError("unexpected")
            if item.record.offset == 8:
                run.wait_for(number, partial(self.finish, item.batch, item.record))
            else:
                send(run.outputs, item.batch, item.record)

    async def finish(self, batch: Batch, record: Any, outputs: Outputs) -> None:
        await self.released.wait()
        send(outputs, batch, record)


async def test_batches_that_begin_together_are_one_run(bench: Bench) -> None:
    bench.producer.auto_acknowledge = True
    batches = [bench.fetch(0, 1, partition=number) for number in range(3)]
    stream = await bench.run(handle_alone, *batches, together=(handler := RunHandler()))
    await wait_until(lambda: stream.acked == batches)
    assert handler.runs == [[(partition, offset) for partition in range(3) for offset in (0, 1)]]


async def test_a_record_that_waits_holds_back_no_other_of_its_run(bench: Bench) -> None:
    bench.producer.auto_acknowledge = True
    first, second = bench.fetch(7, 8, partition=0), bench.fetch(0, partition=1)
    stream = await bench.run(handle_alone, first, second, together=(handler := RunHandler()))
    await wait_until(lambda: stream.acked == [second])
    assert first.left == 1
    handler.released.set()
    await wait_until(lambda: stream.acked == [second, first])


async def test_records_that_are_left_are_handled_one_by_one_in_their_order(bench: Bench) -> None:
    """Two requests of a saga may not change places, in whatever order a run leaves them."""
    bench.producer.auto_acknowledge = True
    handled: list[tuple[int, str]] = []

    async def leave_all(run: Run) -> None:
        for number in (1, 2, 0):
            run.leave(number, "left")

    async def handler(outputs: Outputs, batch: Batch, record: Any, state: str) -> None:
        handled.append((record.offset, state))

    stream = await bench.run(handler, fetched := bench.fetch(0, 1, 2), together=leave_all)
    await wait_until(lambda: stream.acked == [fetched])
    assert handled == [(0, "left"), (1, "left"), (2, "left")]


@pytest.mark.parametrize("revoked", [0, 1])
async def test_an_error_in_a_run_crashes_the_worker_while_it_owns_one_of_the_partitions(
    bench: Bench, revoked: int
) -> None:
    """Otherwise the other records of the run would never be finished."""
    batches = [bench.fetch(0, partition=0), bench.fetch(9, partition=1)]
    handler = RunHandler()

    async def revoke_and_handle(run: Run) -> None:
        bench.ledger.forget([batches[revoked].tp])
        await handler(run)

    await bench.run(handle_alone, *batches, together=revoke_and_handle)
    await wait_until(lambda: bench.app.crashes)
