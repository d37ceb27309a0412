"""Who overtook how many, for sagas that ended while nobody counted: a sweep over their starts and ends.

While records are read in the order of the topics, and not of time, nobody can say who was still under way when another
ended. So this is done once, when all has been read.
"""

from collections.abc import Iterator

from sortedcontainers import SortedList
from sqlalchemy import Connection, bindparam, func, or_, select, update

from saga_app.console.index import Index, chunks
from saga_app.console.tables import sagas

#: Rows in one write.
MANY = 5000

_SET = update(sagas).where(sagas.c.id == bindparam("b_id")).values(overtook=bindparam("b_overtook"))


def settle(index: Index) -> int:
    """Fill in what is missing; returns how many."""
    with index.database.engine.begin() as connection:
        missing = sagas.c.overtook.is_(None) & sagas.c.ended_at.is_not(None)
        first = connection.execute(select(func.min(sagas.c.ended_at)).where(missing)).scalar()
        if first is None:
            return 0
        counted = [{"b_id": id, "b_overtook": count} for id, count in _sweep(connection, first)]
        for some in chunks(counted, MANY):
            connection.execute(_SET, list(some))
        return len(counted)


def _sweep(connection: Connection, first: str) -> Iterator[tuple[str, int]]:
    """In the order of their ends: how many had started earlier, and were under way."""
    later = or_(sagas.c.ended_at.is_(None), sagas.c.ended_at >= first)
    rows = connection.execute(
        select(sagas.c.started_at, sagas.c.id, sagas.c.ended_at, sagas.c.overtook).where(later)
    ).all()
    starts = sorted((started, id) for started, id, _, _ in rows)
    ends = sorted((ended, started, id, overtook) for started, id, ended, overtook in rows if ended is not None)
    under_way: SortedList[tuple[str, str]] = SortedList()
    begun = 0
    for ended, started, id, overtook in ends:
        while begun < len(starts) and starts[begun][0] <= ended:
            under_way.add(starts[begun])
            begun += 1
        if overtook is None:
            yield id, under_way.bisect_left((started, id))
        under_way.discard((started, id))
