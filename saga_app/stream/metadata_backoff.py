"""Keep aiokafka from burning a core while no broker answers."""

import asyncio
from typing import Any


def calm(client: Any, pause_s: float = 0.2) -> None:
    """Make this AIOKafkaClient pause after each failed metadata update.

    While a partition has no known leader, aiokafka's sender and fetcher ask for new metadata as soon as
    the last request for it has failed.  A refused connection fails at once, so that an outage
    costs a whole core and ten thousand log lines a second in each process.
    """
    update = client._metadata_update

    async def patient(*args: Any) -> bool:
        ok: bool = await update(*args)
        if not ok:
            await asyncio.sleep(pause_s)
        return ok

    client._metadata_update = patient
