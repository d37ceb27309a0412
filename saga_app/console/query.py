"""The index, as those see it who ask: lists, one saga, the dead letters. Each question is one short transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson
from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, text

from saga_app.console.database import SEARCHED
from saga_app.console.hub import Kept
from saga_app.console.index import MANY, Index, chunks
from saga_app.console.paging import Sort, page
from saga_app.console.parameters import ErrorFilter, ErrorQuery, SagaFilter, SagaQuery
from saga_app.console.tables import letters, sagas
from saga_app.saga.messages import Row, User, decode
from saga_app.saga.view import view

T = TypeVar("T")

#: Shorter pieces are not in the trigram index.
TRIGRAM = 3

_SORTED_BY = {
    "started_at": (sagas.c.started_at, False),
    "ended_at": (sagas.c.ended_at, True),
    "duration": (sagas.c.duration, True),
    "name": (sagas.c.name, False),
}

_NEWEST = Sort("at", letters.c.at, (letters.c.dlq_partition, letters.c.dlq_offset), down=True)


class Queries:
    """Answers in threads of its own; `now` is the time as ISO text."""

    def __init__(self, index: Index, now: Callable[[], str]) -> None:
        self.index, self.now = index, now
        self.threads = ThreadPoolExecutor(4, thread_name_prefix="console-query")

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        def answer() -> T:
            with self.index.database.engine.connect() as connection:
                return question(connection)

        return await asyncio.get_running_loop().run_in_executor(self.threads, answer)

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown(wait=False)

    async def sagas(self, query: SagaQuery) -> dict[str, Any]:
        """A page of sagas: items, next and total."""
        column, nullable = _SORTED_BY[query.sort.lstrip("-")]
        sort = Sort(query.sort.lstrip("-"), column, (sagas.c.id,), query.sort.startswith("-"), nullable)
        conditions = self._conditions(query)

        def question(connection: Connection) -> dict[str, Any]:
            wanted = select(sagas.c.row, sagas.c.overtook, sagas.c.id, column).where(*conditions)
            rows, after = page(connection, wanted, sort, query.limit, query.cursor)
            total = connection.execute(select(func.count()).select_from(sagas).where(*conditions)).scalar_one()
            now = self.now()
            items = [view(decode(Row, row.row), now, row.overtook) for row in rows]
            return {"items": items, "next": after, "total": total}

        return await self._ask(question)

    def _conditions(self, given: SagaFilter) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = []
        if given.state:
            conditions.append(sagas.c.state.in_(given.state))
        if given.department is not None:
            conditions.append(sagas.c.department == given.department)
        if given.overdue is not None:
            conditions.append(sagas.c.overdue == given.overdue)
        if given.q and given.q.strip():
            conditions.append(self._search(given.q.strip()))
        return conditions

    def _search(self, q: str) -> ColumnElement[bool]:
        device = sagas.c.device_id
        return or_(self._contains(q), (device >= q.upper()) & (device < q.upper() + "\uffff"))

    def _contains(self, q: str) -> ColumnElement[bool]:
        if self.index.database.sqlite and self.index.has_search and len(q) >= TRIGRAM:
            quoted = '"' + q.replace('"', '""') + '"'
            return text("sagas.rowid IN (SELECT rowid FROM sagas_text WHERE sagas_text MATCH :q)").bindparams(q=quoted)  # type: ignore[return-value]
        like = "LIKE" if self.index.database.sqlite else "ILIKE"
        return text(f"({SEARCHED}) {like} :q ESCAPE '!'").bindparams(q=f"%{_escaped(q)}%")  # type: ignore[return-value]

    async def saga(self, id: str) -> tuple[Row, int | None] | None:
        """A saga's row, and how many it overtook."""

        def question(connection: Connection) -> tuple[Row, int | None] | None:
            found = connection.execute(select(sagas.c.row, sagas.c.overtook).where(sagas.c.id == id)).first()
            return (decode(Row, found[0]), found[1]) if found else None

        return await self._ask(question)

    async def users(self, ids: Sequence[str]) -> Mapping[str, User]:
        """The users of those of these ids that exist."""

        def question(connection: Connection) -> dict[str, User]:
            columns = (sagas.c.id, sagas.c.name, sagas.c.email, sagas.c.department)
            found: dict[str, User] = {}
            for some in chunks(ids, MANY):
                for id, *user in connection.execute(select(*columns).where(sagas.c.id.in_(some))):
                    found[id] = User(*user)
            return found

        return await self._ask(question)

    async def changed_after(self, seq: int, trace: bool, limit: int) -> list[Kept]:
        """For a stream that is resumed: the sagas that changed after this event, oldest change first."""
        wanted = select(sagas.c.seq, sagas.c.row, sagas.c.overtook, sagas.c.told).where(sagas.c.seq > seq)
        wanted = wanted.order_by(sagas.c.seq).limit(limit)
        if not trace:
            wanted = wanted.where(sagas.c.ended_at.is_not(None))

        def question(connection: Connection) -> list[Kept]:
            rows = connection.execute(wanted)
            return [Kept(s, decode(Row, row), over, told and orjson.loads(told)) for s, row, over, told in rows]

        return await self._ask(question)

    async def errors(self, query: ErrorQuery) -> dict[str, Any]:
        """A page of dead letters: items, next and total; or what there is of each kind."""
        conditions = error_conditions(query)
        return await self._ask(lambda c: _grouped(c, conditions) if query.group else _letters(c, conditions, query))


def error_conditions(given: ErrorFilter) -> list[ColumnElement[bool]]:
    """A filter of dead letters as SQL."""
    conditions = [letters.c.open == given.open]
    for name in ("id", "saga", "service", "step", "error", "topic", "department"):
        if (value := getattr(given, name)) is not None:
            conditions.append(letters.c[name] == value)
    if given.since is not None:
        conditions.append(letters.c.at >= given.since)
    if given.until is not None:
        conditions.append(letters.c.at < given.until)
    if given.q:
        like = f"%{_escaped(given.q)}%"
        conditions.append(or_(letters.c.reason.ilike(like, escape="!"), letters.c.id.ilike(like, escape="!")))
    return conditions


def _letters(connection: Connection, conditions: list[ColumnElement[bool]], query: ErrorQuery) -> dict[str, Any]:
    rows, after = page(connection, select(letters).where(*conditions), _NEWEST, query.limit, query.cursor)
    return {"items": [_plain(row) for row in rows], "next": after, "total": _count(connection, conditions)}


def _plain(row: Any) -> dict[str, Any]:
    """SQLAlchemy's names of columns are a kind of str that orjson does not take."""
    return {str(name): value for name, value in row._mapping.items()}


def _count(connection: Connection, conditions: list[ColumnElement[bool]]) -> int:
    return connection.execute(select(func.count()).select_from(letters).where(*conditions)).scalar_one()


def _grouped(connection: Connection, conditions: list[ColumnElement[bool]]) -> dict[str, Any]:
    kinds = (letters.c.service, letters.c.step, letters.c.error)
    query: Select[Any] = (
        select(
            *kinds,
            func.count().label("count"),
            func.min(letters.c.at).label("first_at"),
            func.max(letters.c.at).label("last_at"),
            func.max(letters.c.reason).label("reason"),
        )
        .where(*conditions)
        .group_by(*kinds)
        .order_by(func.count().desc(), *kinds)
    )
    items = [_plain(row) for row in connection.execute(query)]
    return {"items": items, "next": None, "total": _count(connection, conditions)}


def _escaped(q: str) -> str:
    return q.replace("!", "!!").replace("%", "!%").replace("_", "!_")
