"""Takes all waiting events of a Faust stream at once."""

from collections.abc import AsyncIterator
from typing import Any

from faust.types import EventT

from saga_app.stream.upstream.faust import is_next_event_current


async def drain_events(app: Any, stream: Any) -> AsyncIterator[EventT[Any]]:
    """Like `stream.noack().events()`, without an iteration of the event loop for each event.

    Faust's loop takes one per event, so many small batches queued up: most of the engine's overhead at 300 sagas/s with
    lags (`make bench ONLY=overhead`). The caller has to yield to the loop. Faust's sensors see only the first event of
    each group.
    """
    queue = stream.channel.queue
    async for event in stream.noack().events():
        yield event
        while not queue.empty() and is_next_event_current(app, queue):
            yield queue.get_nowait()
