"""Keyset pagination: a page begins after the last row of the previous one, so that concurrent inserts do not cause
duplicates or gaps. The cursor is opaque to clients.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, Select, and_, literal, tuple_

from saga_app.saga import json_text
from saga_app.web.problem import Fault, Problem


class Sort(NamedTuple):
    """A sort order: by a column, then by the keys that make it unique. Rows without a value come last."""

    name: str
    column: ColumnElement[Any]
    keys: tuple[ColumnElement[Any], ...]
    down: bool
    nullable: bool = False

    @property
    def spelled(self) -> str:
        """The order in a query parameter, such as -started_at."""
        return f"-{self.name}" if self.down else self.name


class After(NamedTuple):
    """The last row of the previous page: its value in the sort column, which may be None, and its keys."""

    value: Any
    keys: list[Any]


def page(
    connection: Connection, query: Select[Any], sort: Sort, limit: int, cursor: str | None
) -> tuple[Sequence[Row[Any]], str | None]:
    """The rows of a page, and the cursor of the next page, or None.

    `query` must select the columns of `sort`. Raises `Problem` 422 for an invalid cursor.
    """
    after = _read(cursor, sort) if cursor else None
    rows: list[Row[Any]] = []
    for nulls in (False, True) if sort.nullable else (False,):
        if nulls or after is None or after.value is not None:
            behind = after if after and (after.value is None) == nulls else None
            rows += connection.execute(_part(query, sort, nulls, behind).limit(limit + 1 - len(rows))).all()
        if len(rows) > limit:
            break
    more = len(rows) > limit
    return rows[:limit], _write(rows[limit - 1], sort) if more else None


def _part(query: Select[Any], sort: Sort, nulls: bool, after: After | None) -> Select[Any]:
    """The query for rows with a value, or (`nulls`) without one, after a given row."""
    columns = sort.keys if nulls else (sort.column, *sort.keys)
    if sort.nullable:
        query = query.where(sort.column.is_(None) if nulls else sort.column.is_not(None))
    if after is not None:
        here = tuple_(*columns)
        values = after.keys if nulls else [after.value, *after.keys]
        there = tuple_(*(literal(value, column.type) for value, column in zip(values, columns, strict=True)))
        query = query.where(here < there if sort.down else here > there)
    return query.order_by(*(column.desc() if sort.down else column.asc() for column in columns))


def _write(row: Row[Any], sort: Sort) -> str:
    found = row._mapping
    text = json_text.dumps([sort.spelled, found[sort.column], *(found[key] for key in sort.keys)])
    return urlsafe_b64encode(text).decode().rstrip("=")


def _read(cursor: str, sort: Sort) -> After:
    try:
        spelled, value, *keys = json_text.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        fits = (
            spelled == sort.spelled
            and len(keys) == len(sort.keys)
            and all(_is_value_of(key, given) for given, key in zip(keys, sort.keys, strict=True))
            and (sort.nullable if value is None else _is_value_of(sort.column, value))
        )
    except (ValueError, TypeError):
        fits = False
    if not fits:
        fault: Fault = {
            "index": None,
            "field": "cursor",
            "message": "is not the `next` of a page of this list with this sort order",
        }
        raise Problem(422, "the cursor does not match this list", errors=[fault])
    return After(float(value) if type(value) is int else value, keys)


def _is_value_of(column: ColumnElement[Any], value: Any) -> bool:
    """Whether the database can compare this value with the column: no NUL in a text, no number out of range."""
    match value:
        case str():
            return column.type.python_type is str and "\0" not in value
        case bool():
            return False
        case int():
            bits = 63 if isinstance(column.type, BigInteger) else 31
            return column.type.python_type is float or (
                column.type.python_type is int and -(1 << bits) <= value < 1 << bits
            )
        case float():
            return column.type.python_type is float
    return False


def both(conditions: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    """The conjunction of conditions."""
    return and_(*conditions) if conditions else and_(literal(True))
