"""What waits for an agent is taken together, and what a rebalance has outdated is left to Faust."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from saga_app.stream.consume.drain_queue import drain_events


class Stream:
    """Faust's stream of a topic, whose own loop has taken the first event."""

    def __init__(self, *generations: int) -> None:
        self.flow_control = FlowControlEvent()
        self.flow_control.resume()
        self.channel = SimpleNamespace(queue=ThrowableQueue(flow_control=self.flow_control))
        self.app = SimpleNamespace(flow_control=self.flow_control, consumer_generation_id=1)
        for number, generation in enumerate(generations):
            message = SimpleNamespace(generation_id=generation)
            self.channel.queue.put_nowait(SimpleNamespace(number=number, message=message))

    def noack(self) -> "Stream":
        return self

    async def events(self) -> AsyncIterator[Any]:
        yield self.channel.queue.get_nowait()

    @property
    def left(self) -> int:
        """How many events are left to Faust."""
        return self.channel.queue.qsize()


def in_one_turn(taken: AsyncIterator[Any]) -> list[int]:
    """The numbers of the events that come without waiting for anything."""
    numbers = []
    while True:
        try:
            taken.__anext__().__await__().send(None)  # type: ignore[attr-defined]
        except StopIteration as one:
            numbers.append(one.value.number)
        except StopAsyncIteration:
            return numbers
        else:
            raise AssertionError("it has waited")


@pytest.fixture
def stream() -> Stream:
    return Stream(1, 1, 1)


def test_everything_that_is_there_comes_in_order_and_in_one_turn_of_the_loop(stream: Stream) -> None:
    assert in_one_turn(drain_events(stream.app, stream)) == [0, 1, 2]


def test_what_a_rebalance_has_outdated_is_left() -> None:
    stream = Stream(1, 1, 0, 1)
    assert in_one_turn(drain_events(stream.app, stream)) == [0, 1]
    assert stream.left == 2


def test_nothing_more_is_taken_while_the_flow_is_suspended(stream: Stream) -> None:
    stream.flow_control.suspend()
    assert in_one_turn(drain_events(stream.app, stream)) == [0]
    assert stream.left == 2


async def test_an_error_is_left_to_fausts_loop(stream: Stream) -> None:
    taken = drain_events(stream.app, stream)
    assert (await taken.__anext__()).number == 0
    stream.channel.queue._throw(ValueError("from the stream"))
    assert [event async for event in taken] == []
    assert stream.left == 2
