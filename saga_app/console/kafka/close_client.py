"""Closes aiokafka clients. Their `stop` can hang, or raise the cancellation of internal tasks."""

import asyncio
from collections.abc import Awaitable

#: Timeout of closing a client (seconds).
CLOSE_TIMEOUT_S = 3.0


async def close_clients(*stops: Awaitable[object]) -> None:
    """Await the `stop` calls of clients; ignores their errors, and returns after a timeout at the latest."""
    tasks = {asyncio.ensure_future(stop) for stop in stops}
    _, hanging = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)  # does not raise errors of the tasks
    for task in hanging:
        task.cancel()
    for task in tasks - hanging:
        if not task.cancelled():
            task.exception()  # retrieve it, so that asyncio does not log it
