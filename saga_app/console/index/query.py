"""Queries of the index: lists, single sagas, dead letters. Each runs in one short transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, func, or_, select, text

from saga_app.console.http.hub import StoredChange
from saga_app.console.index import dead_letters
from saga_app.console.index.dead_letters import IndexedLetter, escape_like
from saga_app.console.index.filters import ErrorFilter, ErrorQuery, SagaFilter, SagaQuery
from saga_app.console.index.index import IDS_PER_QUERY, Index, chunks
from saga_app.console.index.paging import Sort, page
from saga_app.console.index.search import CONTAINING
from saga_app.console.index.tables import sagas
from saga_app.saga import json_text
from saga_app.saga.codec import decode
from saga_app.saga.messages import Row
from saga_app.saga.record_id import RecordId
from saga_app.saga.text import clean_department, fold
from saga_app.web.existing import ExistingSaga, existing
from saga_app.web.idempotency import key_part
from saga_app.web.problem import Problem
from saga_app.web.saga_view import view

T = TypeVar("T")

#: Minimum length of a search text for the trigram index.
TRIGRAM_LENGTH = 3

#: By sort key: the column, the keys that make it unique, and whether the column is nullable.
_SORTED_BY = {
    "started_at": (sagas.c.started_at, (sagas.c.id,), False),
    "ended_at": (sagas.c.ended_at, (sagas.c.id,), True),
    "duration": (sagas.c.duration, (sagas.c.id,), True),
    "name": (sagas.c.name_key, (sagas.c.name, sagas.c.id), False),
}


class Queries:
    """Runs queries in a thread pool. `now`: returns the current time."""

    def __init__(self, index: Index, now: Callable[[], datetime]) -> None:
        self.index, self.now = index, now
        self.closed = False
        self.threads = ThreadPoolExecutor(4, thread_name_prefix="console-query")

    async def _query(self, question: Callable[[Connection], T]) -> T:
        def answer() -> T:
            with self.index.database.engine.connect() as connection:
                return question(connection)

        if self.closed:
            raise Problem(
                503, "the console is stopping; nothing was accepted", headers={"Retry-After": "5"}, outcome="none"
            )
        return await asyncio.get_running_loop().run_in_executor(self.threads, answer)

    def close(self) -> None:
        """Stop the thread pool."""
        self.closed = True
        self.threads.shutdown(wait=False)

    async def sagas(self, query: SagaQuery) -> dict[str, Any]:
        """A page of sagas: items, next and total."""
        column, keys, nullable = _SORTED_BY[query.sort.lstrip("-")]
        sort = Sort(query.sort.lstrip("-"), column, keys, query.sort.startswith("-"), nullable)
        conditions = self._conditions(query)

        def question(connection: Connection) -> dict[str, Any]:
            wanted = select(sagas.c.row, sagas.c.overtook, *keys, column).where(*conditions)
            rows, after = page(connection, wanted, sort, query.limit, query.cursor)
            total = connection.execute(select(func.count()).select_from(sagas).where(*conditions)).scalar_one()
            now = self.now()
            items = [view(decode(Row, row.row), now, row.overtook) for row in rows]
            return {"items": items, "next": after, "total": total}

        return await self._query(question)

    def _conditions(self, given: SagaFilter) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = []
        if given.state:
            conditions.append(sagas.c.state.in_(given.state))
        if given.department is not None:
            conditions.append(sagas.c.department == clean_department(given.department))
        if given.overdue is not None:
            conditions.append(sagas.c.overdue == given.overdue)
        if given.trouble is not None:
            late = sagas.c.overdue & sagas.c.ended_at.is_(None)
            stuck = late | sagas.c.state.in_(("parked", "rollback-incomplete"))
            conditions.append(stuck if given.trouble else ~stuck)
        if given.q and (folded := fold(given.q)):
            conditions.append(self._search(folded))
        return conditions

    def _search(self, folded: str) -> ColumnElement[bool]:
        """Match part of a name, an address or an id, or the beginning of the first step's fact, all in folded form."""
        fact = sagas.c.first_fact
        return or_(self._contains(folded), (fact >= folded) & (fact < folded + "\uffff"))

    def _contains(self, folded: str) -> ColumnElement[bool]:
        if self.index.database.sqlite and self.index.has_search and len(folded) >= TRIGRAM_LENGTH:
            quoted, part = '"' + folded.replace('"', '""') + '"', f"%{escape_like(folded)}%"
            return text(f"sagas.rowid IN ({CONTAINING})").bindparams(q=quoted, part=part)  # type: ignore[return-value]
        return sagas.c.search_key.like(f"%{escape_like(folded)}%", escape="!")

    async def saga(self, id: str) -> tuple[Row, int | None] | None:
        """The row of a saga, and how many it overtook; None if it does not exist."""
        if "\0" in id:
            return None  # PostgreSQL rejects NUL, and no id contains it

        def question(connection: Connection) -> tuple[Row, int | None] | None:
            found = connection.execute(select(sagas.c.row, sagas.c.overtook).where(sagas.c.id == id)).first()
            return (decode(Row, found[0]), found[1]) if found else None

        return await self._query(question)

    async def users(self, ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        """The existing sagas among these ids, with their state."""
        now = self.now()
        return {id: existing(row, now) for id, row in (await self.rows(ids)).items()}

    async def is_key_taken(self, mark: str) -> bool:
        """Whether a saga was started with the same Idempotency-Key and another body."""
        key, marks = key_part(mark), sagas.c.idempotency

        def question(connection: Connection) -> bool:
            of_key = (marks >= key) & (marks < f"{key}~")
            return connection.execute(select(marks).where(of_key, marks != mark).limit(1)).first() is not None

        return await self._query(question)

    async def changed_after(self, seq: int, trace: bool, limit: int) -> list[StoredChange]:
        """The sagas that changed after event `seq`, oldest change first, for a resumed stream."""
        wanted = select(sagas.c.seq, sagas.c.row, sagas.c.overtook, sagas.c.entry).where(sagas.c.seq > seq)
        wanted = wanted.order_by(sagas.c.seq).limit(limit)
        if not trace:
            wanted = wanted.where(sagas.c.ended_at.is_not(None))

        def question(connection: Connection) -> list[StoredChange]:
            rows = connection.execute(wanted)
            return [
                StoredChange(s, decode(Row, row), over, entry and json_text.loads(entry))
                for s, row, over, entry in rows
            ]

        return await self._query(question)

    async def rows(self, ids: Sequence[str]) -> Mapping[str, Row]:
        """The rows of the existing sagas among these ids."""

        def question(connection: Connection) -> dict[str, Row]:
            found: dict[str, Row] = {}
            for some in chunks(ids, IDS_PER_QUERY):
                for id, row in connection.execute(select(sagas.c.id, sagas.c.row).where(sagas.c.id.in_(some))):
                    found[id] = decode(Row, row)
            return found

        return await self._query(question)

    async def errors(self, query: ErrorQuery) -> dict[str, Any]:
        """A page of dead letters (items, next, total), or of groups with `query.group`."""
        return await self._query(lambda connection: dead_letters.list_page(connection, query))

    async def letter(self, place: RecordId) -> dict[str, Any] | None:
        """The dead letter of the record at this position; None if there is none."""
        return await self._query(lambda connection: dead_letters.find_one(connection, place))

    async def letters_matching(self, given: ErrorFilter) -> Sequence[IndexedLetter]:
        """All dead letters that the filter matches, oldest first."""
        return await self._query(lambda connection: dead_letters.matching(connection, given))

    async def letters_at(self, places: Sequence[RecordId]) -> Sequence[IndexedLetter]:
        """The dead letters of the records at these positions."""
        return await self._query(lambda connection: dead_letters.at_places(connection, places))

    async def open_letters_of(self, ids: Sequence[str]) -> Sequence[IndexedLetter]:
        """The open dead letters of these sagas."""
        return await self._query(lambda connection: dead_letters.open_for_sagas(connection, ids))
