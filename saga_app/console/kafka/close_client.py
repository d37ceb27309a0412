"""Ending aiokafka's clients: it can hang, and it can raise what was meant for its own tasks. Neither may reach us."""

import asyncio
from collections.abc import Awaitable

#: How long one may take (seconds).
MOST_S = 3.0


async def ended(*stops: Awaitable[object]) -> None:
    """Returns when all have ended, in whatever way, or when it takes too long."""
    tasks = {asyncio.ensure_future(stop) for stop in stops}
    _, hanging = await asyncio.wait(tasks, timeout=MOST_S)  # raises nothing of theirs, cancellations included
    for task in hanging:
        task.cancel()
    for task in tasks - hanging:
        if not task.cancelled():
            task.exception()  # looked at, so that nobody logs it as forgotten
