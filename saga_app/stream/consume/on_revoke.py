"""Checks the changelogs before partitions are revoked, because their next owner recovers its tables from them.

A row of a worker that was frozen is detected when the owner's next row is acknowledged (see `ChangelogRepair`). In a
partition with few writes that may be too late. So the end of each changelog is requested here, and rows that other
workers have appended after ours are overwritten.
"""

import asyncio
from typing import Any

import structlog

from saga_app.stream.consume.phase import Phase

log = structlog.get_logger()

#: How long the check may take (seconds): a stop has eight seconds for everything.
REPAIR_TIMEOUT_S = 3.0


async def repair_changelogs(consumer: Any, phase: Phase) -> None:
    """`phase`: that of the worker until now; before its streams flow it has written no rows.

    Does nothing unless the lease holds: if another worker may own the rows, its rows are the right ones.
    """
    if phase is not Phase.STREAMING or consumer.thread.should_stop:
        return
    try:
        if consumer.transport.lease.holds():
            async with asyncio.timeout(REPAIR_TIMEOUT_S):
                await _repair(consumer)
    except Exception as error:
        log.warning("changelogs not checked for foreign rows", error=repr(error))


async def _repair(consumer: Any) -> None:
    assigned = consumer.assignment()
    tables = {tp: table for tp in assigned if hasattr(table := consumer.table_of(tp), "repair_changelog")}
    ends = await consumer.highwaters(*tables) if tables else {}
    for tp, end in ends.items():
        await tables[tp].repair_changelog(tp.partition, end)
