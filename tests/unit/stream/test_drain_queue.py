"""`drain_events` takes all waiting events at once, and leaves events of an old assignment to Faust."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from saga_app.stream.consume.drain_queue import drain_events


class FakeStream:
    """A Faust stream with one event in its queue for each of these generation ids, numbered from 0.

    `events()` yields only the first event, as Faust's loop does in one iteration of the event loop.
    """

    def __init__(self, *generation_ids: int) -> None:
        self.flow_control = FlowControlEvent()
        self.flow_control.resume()
        self.queue = ThrowableQueue[Any](flow_control=self.flow_control)
        self.channel = SimpleNamespace(queue=self.queue)
        self.app = SimpleNamespace(flow_control=self.flow_control, consumer_generation_id=1)
        for number, generation_id in enumerate(generation_ids):
            message = SimpleNamespace(generation_id=generation_id)
            self.queue.put_nowait(SimpleNamespace(number=number, message=message))

    def noack(self) -> "FakeStream":
        return self

    async def events(self) -> AsyncIterator[Any]:
        yield self.queue.get_nowait()


def drain_without_waiting(stream: FakeStream) -> list[int]:
    """The numbers of the drained events; fails if the drain yields to the event loop."""
    events: AsyncIterator[Any] = drain_events(stream.app, stream)
    numbers: list[int] = []
    while True:
        step: Any = anext(events)
        try:
            step.__await__().send(None)
        except StopIteration as end:
            numbers.append(end.value.number)
        except StopAsyncIteration:
            return numbers
        else:
            raise AssertionError("drain_events yielded to the event loop")


@pytest.fixture
def stream() -> FakeStream:
    """A stream with three events of the current assignment."""
    return FakeStream(1, 1, 1)


def test_all_waiting_events_are_drained_in_order_without_waiting(stream: FakeStream) -> None:
    assert drain_without_waiting(stream) == [0, 1, 2]


def test_events_of_an_old_assignment_are_left_to_faust() -> None:
    stream = FakeStream(1, 1, 0, 1)
    assert drain_without_waiting(stream) == [0, 1]
    assert stream.queue.qsize() == 2


def test_a_suspended_flow_stops_the_drain(stream: FakeStream) -> None:
    stream.flow_control.suspend()
    assert drain_without_waiting(stream) == [0]
    assert stream.queue.qsize() == 2


async def test_an_error_is_left_to_faust(stream: FakeStream) -> None:
    events: AsyncIterator[Any] = drain_events(stream.app, stream)
    assert (await anext(events)).number == 0
    stream.queue._throw(ValueError("from the stream"))
    assert [event async for event in events] == []
    assert stream.queue.qsize() == 2
