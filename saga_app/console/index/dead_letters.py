"""Queries for dead letters in the index."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, tuple_

from saga_app.console.index.filters import ErrorFilter, ErrorQuery
from saga_app.console.index.index import IDS_PER_QUERY, chunks
from saga_app.console.index.paging import Sort, page
from saga_app.console.index.tables import letters
from saga_app.saga.record_id import RecordId
from saga_app.saga.text import clean_department

_NEWEST = Sort("at", letters.c.at, (letters.c.dlq_partition, letters.c.dlq_offset), down=True)
_OLDEST = (letters.c.at, letters.c.dlq_partition, letters.c.dlq_offset)
_PLACE = (letters.c.topic, letters.c.partition, letters.c.offset)


@dataclass(frozen=True, slots=True)
class IndexedLetter:
    """A dead letter in the index. `place`: position of the original; `dlq`: partition and offset in the dlq."""

    place: RecordId
    dlq: tuple[int, int]
    id: str | None
    saga: str | None
    service: str
    step: str
    attempt: int
    open: bool
    readable: bool
    refused_by: str | None = None
    original_bytes: int | None = None  #: Set if it is stored truncated.


_OTHER_COLUMNS = ("id", "saga", "service", "step", "attempt", "open", "readable", "refused_by", "original_bytes")
_LETTER_COLUMNS = [
    *_PLACE,
    letters.c.dlq_partition,
    letters.c.dlq_offset,
    *(letters.c[name] for name in _OTHER_COLUMNS),
]


def _letters(query: Select[Any], connection: Connection) -> list[IndexedLetter]:
    rows = connection.execute(query.order_by(*_OLDEST))
    return [IndexedLetter(RecordId(*row[:3]), (row[3], row[4]), *row[5:]) for row in rows]


def matching(connection: Connection, given: ErrorFilter) -> list[IndexedLetter]:
    """All dead letters that the filter matches, oldest first."""
    return _letters(select(*_LETTER_COLUMNS).where(*conditions(given)), connection)


def at_places(connection: Connection, places: Sequence[RecordId]) -> list[IndexedLetter]:
    """The dead letters of the records at these positions."""
    queries = (select(*_LETTER_COLUMNS).where(tuple_(*_PLACE).in_(some)) for some in chunks(places, IDS_PER_QUERY))
    return [held for query in queries for held in _letters(query, connection)]


def open_for_sagas(connection: Connection, ids: Sequence[str]) -> list[IndexedLetter]:
    """The open dead letters of these sagas."""
    queries = (
        select(*_LETTER_COLUMNS).where(letters.c.open, letters.c.id.in_(some)) for some in chunks(ids, IDS_PER_QUERY)
    )
    return [held for query in queries for held in _letters(query, connection)]


def find_one(connection: Connection, place: RecordId) -> dict[str, Any] | None:
    """One dead letter as an item of a list; None if it does not exist."""
    query = select(letters).where(*(column == value for column, value in zip(_PLACE, place, strict=True)))
    found = connection.execute(query).first()
    return _item(found) if found else None


def list_page(connection: Connection, query: ErrorQuery) -> dict[str, Any]:
    """A page of dead letters (items, next, total), or of groups with `query.group`."""
    wanted = conditions(query)
    if query.group:
        return {"items": _kinds(connection, wanted), "next": None, "total": _count(connection, wanted)}
    rows, after = page(connection, select(letters).where(*wanted), _NEWEST, query.limit, query.cursor)
    return {"items": [_item(row) for row in rows], "next": after, "total": _count(connection, wanted)}


def conditions(given: ErrorFilter) -> list[ColumnElement[bool]]:
    """The SQL conditions of a filter."""
    found = [letters.c.open == given.open]
    for name in ("id", "saga", "service", "step", "error", "topic"):
        if (value := getattr(given, name)) is not None:
            found.append(letters.c[name] == value)
    if given.department is not None:
        found.append(letters.c.department == clean_department(given.department))
    if given.since is not None:
        found.append(letters.c.at >= given.since)
    if given.until is not None:
        found.append(letters.c.at < given.until)
    if given.q:
        like = f"%{escape_like(given.q)}%"
        found.append(or_(letters.c.reason.ilike(like, escape="!"), letters.c.id.ilike(like, escape="!")))
    return found


def _kinds(connection: Connection, wanted: Iterable[ColumnElement[bool]]) -> list[dict[str, Any]]:
    """Groups by service, step and error: count, first and last time, and the newest dead letter as an example."""
    kinds = (letters.c.service, letters.c.step, letters.c.error)
    each = (
        select(
            *kinds,
            letters.c.reason,
            *_PLACE,
            func.count().over(partition_by=kinds).label("count"),
            func.min(letters.c.at).over(partition_by=kinds).label("first_at"),
            func.max(letters.c.at).over(partition_by=kinds).label("last_at"),
            func.row_number().over(partition_by=kinds, order_by=[column.desc() for column in _OLDEST]).label("newness"),
        )
        .where(*wanted)
        .subquery()
    )
    query = select(each).where(each.c.newness == 1).order_by(each.c.count.desc(), *(each.c[k.name] for k in kinds))
    return [_kind(_plain(row)) for row in connection.execute(query)]


def _kind(found: dict[str, Any]) -> dict[str, Any]:
    shown = ("service", "step", "error", "count", "first_at", "last_at", "reason")
    return {name: found[name] for name in shown} | {"example": _name(found)}


def _item(row: Any) -> dict[str, Any]:
    found = _plain(row)
    return {"name": _name(found)} | found


def _name(found: dict[str, Any]) -> str:
    return str(RecordId(found["topic"], found["partition"], found["offset"]))


def _plain(row: Any) -> dict[str, Any]:
    """A row as a dictionary; msgspec does not accept SQLAlchemy's subclass of str as keys."""
    return {str(name): value for name, value in row._mapping.items()}


def _count(connection: Connection, wanted: Iterable[ColumnElement[bool]]) -> int:
    return connection.execute(select(func.count()).select_from(letters).where(*wanted)).scalar_one()


def escape_like(q: str) -> str:
    """Text escaped for LIKE … ESCAPE '!'."""
    return q.replace("!", "!!").replace("%", "!%").replace("_", "!_")
