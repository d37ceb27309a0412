"""A record whose output the broker refuses is parked, and others are not."""

from collections.abc import Sequence
from typing import Any

import pytest

from saga_app.stream import Batch, Outputs, Refused, RetryLater
from tests.unit.stream.pool_bench import Bench, wait_until


class FakeOnRefusal:
    """Records the offset, the refused topics and the number of previous calls of each call.

    parks: whether it sends a dead letter
    refused_dead_letters: how many of these the broker refuses
    """

    def __init__(self, parks: bool = True, refused_dead_letters: int = 0) -> None:
        self.calls: list[tuple[int, list[str], int]] = []
        self._parks, self._refused_dead_letters = parks, refused_dead_letters

    async def __call__(self, outputs: Outputs, record: Any, refusals: Sequence[Refused], tries: int) -> bool:
        self.calls.append((record.offset, [refusal.topic for refusal in refusals], tries))
        if self._parks:
            outputs.send("refused" if len(self.calls) <= self._refused_dead_letters else "parked", record.key, b"")
        return self._parks


async def send_odd_offsets_to_a_refusing_topic(outputs: Outputs, _batch: Batch, record: Any) -> None:
    outputs.send("refused" if record.offset % 2 else "out", record.key, b"%d" % record.offset)


@pytest.mark.field(32)
async def test_only_records_with_a_refused_output_are_parked(bench: Bench) -> None:
    bench.producer.auto_acknowledge = True
    fetched = bench.fetch(0, 1, 2, 3)
    on_refusal = FakeOnRefusal()
    stream = await bench.run(send_odd_offsets_to_a_refusing_topic, fetched, on_refusal=on_refusal)
    await wait_until(lambda: stream.acked == [fetched])
    assert on_refusal.calls == [(1, ["refused"], 0), (3, ["refused"], 0)]
    assert bench.app.crashes == []


@pytest.mark.field(32)
async def test_a_refused_dead_letter_is_requested_again(bench: Bench) -> None:
    bench.producer.auto_acknowledge = True
    fetched = bench.fetch(1)
    on_refusal = FakeOnRefusal(refused_dead_letters=2)
    stream = await bench.run(send_odd_offsets_to_a_refusing_topic, fetched, on_refusal=on_refusal)
    await wait_until(lambda: stream.acked == [fetched])
    assert on_refusal.calls == [(1, ["refused"], tries) for tries in range(3)]


@pytest.mark.field(32)
async def test_a_handler_that_waits_for_a_refused_output_is_aborted(bench: Bench) -> None:
    bench.producer.auto_acknowledge = True
    continued: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any) -> None:
        await send_odd_offsets_to_a_refusing_topic(outputs, batch, record)
        await outputs.acknowledged()
        continued.append(record.offset)

    stream = await bench.run(handler, fetched := bench.fetch(0, 1, 2), on_refusal=FakeOnRefusal())
    await wait_until(lambda: stream.acked == [fetched])
    assert sorted(continued) == [0, 2]


@pytest.mark.field(32)
@pytest.mark.parametrize(("parks", "calls"), [(True, 1), (False, 2)])
async def test_a_delayed_record_is_handled_again_unless_it_was_parked(bench: Bench, parks: bool, calls: int) -> None:
    bench.producer.auto_acknowledge = True
    states: list[int] = []

    async def handler(outputs: Outputs, batch: Batch, record: Any, state: int = 0) -> RetryLater | None:
        states.append(state)
        outputs.send("refused", record.key, b"")
        return None if state else RetryLater(0.01, 1)

    stream = await bench.run(handler, fetched := bench.fetch(0), on_refusal=FakeOnRefusal(parks))
    await wait_until(lambda: stream.acked == [fetched])
    assert len(states) == calls


@pytest.mark.field(32)
async def test_a_refused_output_without_on_refusal_crashes_the_worker(bench: Bench) -> None:
    await bench.run(send_odd_offsets_to_a_refusing_topic, bench.fetch(1))
    await wait_until(lambda: bench.app.crashes)
    assert isinstance(bench.app.crashes[0], Refused)
