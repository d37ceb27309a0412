"""What waits in Faust's queue of a stream, taken together."""

from collections.abc import AsyncIterator
from typing import Any

from faust.types import EventT


async def events(app: Any, stream: Any) -> AsyncIterator[EventT[Any]]:
    """As `stream.noack().events()`, but without a turn of the event loop for each event.

    Faust's loop takes one, so many small batches queued up for it: most of what the engine added at 300 sagas/s with
    lags (`make bench ONLY=overhead`). Whoever takes these has to let others have their turn. Faust's sensors see the
    first of each lot only.
    """
    queue = stream.channel.queue
    async for event in stream.noack().events():
        yield event
        while not queue.empty() and _sound(app, queue):
            yield queue.get_nowait()


def _sound(app: Any, queue: Any) -> bool:
    """Whether the next is an event to work on; Faust's loop sees to errors, and to what a rebalance has outdated."""
    if queue._errors or not app.flow_control.is_active():
        return False
    current: bool = queue._queue[0].message.generation_id == app.consumer_generation_id
    return current
