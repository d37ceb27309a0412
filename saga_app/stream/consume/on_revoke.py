"""A last look before partitions are given back: who gets them next takes the changelog for the truth.

A row of a worker that was frozen is seen with the owner's next row behind it (mender.py). In a quiet partition that may
be late; so here the end of each changelog is asked for, and what others have put behind our rows is mended.
"""

import asyncio
from typing import Any

from saga_app.stream.consume.phase import Phase

#: How long it may take; whoever stops has eight seconds for all.
LOOK_S = 3.0


async def mend(consumer: Any, phase: Phase) -> None:
    """`phase`: in which the worker was until now; before its streams flow it has put no rows there.

    Where it is not certain that the rows are still ours nothing is done: then theirs are the right ones.
    """
    if phase is not Phase.STREAMING or consumer._thread.should_stop:
        return
    try:
        if consumer.transport.lease.holds():
            async with asyncio.timeout(LOOK_S):
                await _mend(consumer)
    except Exception as error:
        consumer.log.warning("whether foreign rows stand behind ours could not be seen: %r", error)


async def _mend(consumer: Any) -> None:
    tables = {tp: table for tp in consumer.assignment() if hasattr(table := consumer._table(tp), "mend")}
    ends = await consumer.highwaters(*tables) if tables else {}
    for tp, end in ends.items():
        await tables[tp].mend(tp.partition, end)
