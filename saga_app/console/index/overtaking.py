"""Counts how many sagas each saga overtook, for those that ended while the index was being built.

A saga overtakes those that started earlier and were running or rolling back when it ended; parked sagas are not
overtaken. During a rebuild, records are not read in the order of time, so the counts are computed once at its end, by a
sweep over time.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sortedcontainers import SortedList
from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, update

from saga_app.console.index.index import Index, chunks
from saga_app.console.index.tables import letters, sagas
from saga_app.saga.codec import decode
from saga_app.saga.messages import Row
from saga_app.saga.times import iso

#: Number of rows in one write.
ROWS_PER_WRITE = 5000

_SET = update(sagas).where(sagas.c.id == bindparam("b_id")).values(overtook=bindparam("b_overtook"))


class Life(NamedTuple):
    """The times of a saga (ISO 8601). `pauses`: intervals in which it was parked; the last may be open-ended."""

    id: str
    started_at: str
    ended_at: str | None
    pauses: Sequence[tuple[str, str | None]] = ()


def fill_in_counts(index: Index) -> int:
    """Fill in missing counts in the index; returns how many."""
    with index.database.engine.begin() as connection:
        missing = sagas.c.overtook.is_(None) & sagas.c.ended_at.is_not(None)
        first = connection.execute(select(func.min(sagas.c.ended_at)).where(missing)).scalar()
        if first is None:
            return 0
        wanted = set(connection.execute(select(sagas.c.id).where(missing)).scalars())
        counted = [{"b_id": id, "b_overtook": n} for id, n in counts(_lives(connection, first)) if id in wanted]
        for some in chunks(counted, ROWS_PER_WRITE):
            connection.execute(_SET, list(some))
        return len(counted)


def counts(lives: Sequence[Life]) -> Iterator[tuple[str, int]]:
    """Yield each ended saga with the number of sagas that it overtook, in the order of their ends."""
    moving: SortedList[tuple[str, str]] = SortedList()
    for _at, what, started_at, id in sorted(_turns(lives)):
        if what == _ENDS:
            yield id, moving.bisect_left((started_at, id))
        if what == _MOVES:
            moving.add((started_at, id))
        else:
            moving.discard((started_at, id))


#: Kinds of events of the sweep. At equal times, starts are processed before ends.
_STOPS, _MOVES, _ENDS = 0, 1, 2


def _turns(lives: Sequence[Life]) -> Iterator[tuple[str, int, str, str]]:
    for life in lives:
        yield life.started_at, _MOVES, life.started_at, life.id
        for parked_at, moved_at in life.pauses:
            yield parked_at, _STOPS, life.started_at, life.id
            if moved_at is not None:
                yield moved_at, _MOVES, life.started_at, life.id
        if life.ended_at is not None:
            yield life.ended_at, _ENDS, life.started_at, life.id


def pauses(row: Row, parked: Sequence[str]) -> list[tuple[str, str | None]]:
    """The intervals in which a saga was parked. `parked`: start times; each ends with the next request to a step."""
    moves = sorted(iso(visit.received_at) for visit in row.history)
    last = None if row.state == "parked" else iso(row.ended_at or row.updated_at)
    return [(at, next((moved for moved in moves if moved > at), last)) for at in sorted(parked)]


def _lives(connection: Connection, first: str) -> list[Life]:
    """The lives of all sagas that had not ended before `first`."""
    under_way = or_(sagas.c.ended_at.is_(None), sagas.c.ended_at >= first)
    stood = _pauses(connection, under_way)
    rows = connection.execute(select(sagas.c.id, sagas.c.started_at, sagas.c.ended_at).where(under_way))
    return [Life(id, started, ended, stood.get(id, ())) for id, started, ended in rows]


def _pauses(connection: Connection, under_way: ColumnElement[bool]) -> dict[str, list[tuple[str, str | None]]]:
    """Pauses by saga, for sagas with dead letters or in the state parked."""
    parked, rows = defaultdict[str, list[str]](list), dict[str, Row]()
    joined = select(sagas.c.id, sagas.c.row, letters.c.at).outerjoin(letters, letters.c.id == sagas.c.id)
    troubled = letters.c.at.is_not(None) | (sagas.c.state == "parked")
    for id, row, at in connection.execute(joined.where(under_way, troubled)):
        rows[id] = rows.get(id) or decode(Row, row)
        parked[id].append(at or iso(rows[id].updated_at))
    return {id: pauses(rows[id], times) for id, times in parked.items()}
