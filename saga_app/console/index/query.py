"""The index, as those see it who ask: lists, one saga, the dead letters. Each question is one short transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson
from sqlalchemy import ColumnElement, Connection, func, or_, select, text

from saga_app.console.http.hub import Kept
from saga_app.console.index import dead_letters
from saga_app.console.index.dead_letters import Held, escaped
from saga_app.console.index.filters import ErrorFilter, ErrorQuery, SagaFilter, SagaQuery
from saga_app.console.index.index import MANY, Index, chunks
from saga_app.console.index.paging import Sort, page
from saga_app.console.index.tables import sagas
from saga_app.console.record_id import Place
from saga_app.saga.messages import Row, decode
from saga_app.saga.text import clean_department, fold
from saga_app.web.existing import ExistingSaga, existing
from saga_app.web.idempotency import key_part
from saga_app.web.problem import Problem
from saga_app.web.saga_view import view

T = TypeVar("T")

#: Shorter pieces are not in the trigram index.
TRIGRAM = 3

#: By the name of an order: the column, the keys that make it unique, and whether rows may lack a value.
_SORTED_BY = {
    "started_at": (sagas.c.started_at, (sagas.c.id,), False),
    "ended_at": (sagas.c.ended_at, (sagas.c.id,), True),
    "duration": (sagas.c.duration, (sagas.c.id,), True),
    "name": (sagas.c.name_key, (sagas.c.name, sagas.c.id), False),
}


class Queries:
    """Answers in threads of its own; `now` is the time as ISO text."""

    def __init__(self, index: Index, now: Callable[[], str]) -> None:
        self.index, self.now = index, now
        self.closed = False
        self.threads = ThreadPoolExecutor(4, thread_name_prefix="console-query")

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        def answer() -> T:
            with self.index.database.engine.connect() as connection:
                return question(connection)

        if self.closed:
            raise Problem(
                503, "the console is stopping; nothing was accepted", headers={"Retry-After": "5"}, outcome="none"
            )
        return await asyncio.get_running_loop().run_in_executor(self.threads, answer)

    def close(self) -> None:
        """End the threads."""
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

        return await self._ask(question)

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
        """Part of a name, an address or an id, or the beginning of the first step's fact; all in their folded form."""
        fact = sagas.c.first_fact
        return or_(self._contains(folded), (fact >= folded) & (fact < folded + "\uffff"))

    def _contains(self, folded: str) -> ColumnElement[bool]:
        if self.index.database.sqlite and self.index.has_search and len(folded) >= TRIGRAM:
            quoted = '"' + folded.replace('"', '""') + '"'
            return text("sagas.rowid IN (SELECT rowid FROM sagas_text WHERE sagas_text MATCH :q)").bindparams(q=quoted)  # type: ignore[return-value]
        return sagas.c.search_key.like(f"%{escaped(folded)}%", escape="!")

    async def saga(self, id: str) -> tuple[Row, int | None] | None:
        """A saga's row, and how many it overtook."""
        if "\0" in id:
            return None  # PostgreSQL takes no NUL, and no id has one

        def question(connection: Connection) -> tuple[Row, int | None] | None:
            found = connection.execute(select(sagas.c.row, sagas.c.overtook).where(sagas.c.id == id)).first()
            return (decode(Row, found[0]), found[1]) if found else None

        return await self._ask(question)

    async def users(self, ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        """Those of these sagas that exist, and how they stand."""
        now = self.now()
        return {id: existing(row, now) for id, row in (await self.rows(ids)).items()}

    async def is_key_taken(self, mark: str) -> bool:
        """Whether a saga was started with the Idempotency-Key of this mark and another body."""
        key, marks = key_part(mark), sagas.c.idempotency

        def question(connection: Connection) -> bool:
            of_key = (marks >= key) & (marks < f"{key}~")
            return connection.execute(select(marks).where(of_key, marks != mark).limit(1)).first() is not None

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

    async def rows(self, ids: Sequence[str]) -> Mapping[str, Row]:
        """The rows of those of these sagas that exist."""

        def question(connection: Connection) -> dict[str, Row]:
            found: dict[str, Row] = {}
            for some in chunks(ids, MANY):
                for id, row in connection.execute(select(sagas.c.id, sagas.c.row).where(sagas.c.id.in_(some))):
                    found[id] = decode(Row, row)
            return found

        return await self._ask(question)

    async def errors(self, query: ErrorQuery) -> dict[str, Any]:
        """A page of dead letters: items, next and total; or what there is of each kind."""
        return await self._ask(lambda connection: dead_letters.listed(connection, query))

    async def letter(self, place: Place) -> dict[str, Any] | None:
        """The dead letter of the record at this place."""
        return await self._ask(lambda connection: dead_letters.one(connection, place))

    async def letters_meant(self, given: ErrorFilter) -> Sequence[Held]:
        """All that a filter matches, oldest first."""
        return await self._ask(lambda connection: dead_letters.meant(connection, given))

    async def letters_named(self, places: Sequence[Place]) -> Sequence[Held]:
        """The dead letters of the records at these places."""
        return await self._ask(lambda connection: dead_letters.named(connection, places))

    async def letters_waiting(self, ids: Sequence[str]) -> Sequence[Held]:
        """The dead letters for which these sagas wait."""
        return await self._ask(lambda connection: dead_letters.waiting(connection, ids))
