"""Writes the index: saga rows and dead letters, together with the offsets up to which the topics were read."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import structlog
from sqlalchemy import (
    Connection,
    Dialect,
    Executable,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from saga_app.active_plan import PLAN
from saga_app.console.index import search
from saga_app.console.index.database import Database, add_search
from saga_app.console.index.fold import Changes, Letter, Tracked
from saga_app.console.index.tables import LIST_INDEXES, SCHEMA, letters, meta, metadata, offsets, redriven, sagas
from saga_app.saga import json_text
from saga_app.saga.codec import decode, encode
from saga_app.saga.messages import Row
from saga_app.saga.states import ENDED_STATES
from saga_app.saga.text import fold
from saga_app.saga.times import between, iso
from saga_app.web.saga_view import entry_view

log = structlog.get_logger()

Place = tuple[str, int]
T = TypeVar("T")

#: Number of ids in one query; databases limit the number of parameters.
IDS_PER_QUERY = 500

#: Number of sagas that one call of `fill_search` adds.
SEARCH_ROWS = 2_000

#: Maximum length of a name key (characters). Folding lengthens names, and databases limit the size of index keys.
MAX_NAME_KEY_LENGTH = 200

#: Columns that every step changes. The others are in database indexes, which are expensive to update.
_STEP_COLUMNS = ("step", "seq", "row", "entry")


class Index:
    """The index. Call `open` first; `write` stores changes, `rebuild` clears it. Not thread-safe.

    `url`: of an SQLite or PostgreSQL database.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.epoch, self.seq, self.cluster = "", 0, ""
        self.errors = 0
        self.has_search = False
        self.unsearched = 0  #: how many sagas are not in the search index yet

    def open(self) -> None:
        """Lock the database and create missing tables; a damaged index, or one with another schema, is recreated.

        Raises `database.InUse`.
        """
        self.database.open()
        try:
            if not self._read_meta():
                self._create()
        except DBAPIError as error:
            if not self.database.sqlite or "locked" in str(error.orig):
                raise
            log.warning("index is damaged, recreating it", problem=str(error.orig))
            self.database.recreate()
            self._create()

    def _read_meta(self) -> bool:
        if not inspect(self.database.engine).has_table("meta"):
            return False
        with self.database.engine.connect() as connection:
            found = dict(connection.execute(select(meta.c.name, meta.c.value)).all())
            if found.get("schema") != str(SCHEMA):
                return False
            self.errors = self._count_errors(connection)
            self.unsearched = search.count_missing(connection) if self.database.sqlite else 0
        self.epoch, self.seq, self.cluster = found["epoch"], int(found["seq"]), found["cluster"]
        self.has_search = found["search"] == "1"
        self.create_list_indexes()  # missing after a crash during a catch-up
        return True

    def _create(self) -> None:
        with self.database.engine.begin() as connection:
            metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE IF EXISTS sagas_text")
            metadata.create_all(connection)
            self.has_search = add_search(connection)
            self._begin_epoch(connection, "")

    def _begin_epoch(self, connection: Connection, cluster: str) -> None:
        self.epoch, self.seq, self.cluster, self.errors = secrets.token_hex(4), 0, cluster, 0
        self.unsearched = 0
        values = {"schema": SCHEMA, "epoch": self.epoch, "seq": 0, "cluster": cluster, "search": int(self.has_search)}
        values["searched"] = 0
        connection.execute(delete(meta))
        connection.execute(insert(meta), [{"name": name, "value": str(value)} for name, value in values.items()])

    def rebuild(self, cluster: str) -> None:
        """Clear the index and start a new epoch; topics of this cluster are then read from the beginning."""
        if self.database.is_deleted():
            self.database.recreate()
            self._create()
        with self.database.engine.begin() as connection:
            for table in (sagas, letters, redriven, offsets):
                connection.execute(delete(table))
            if self.has_search and self.database.sqlite:
                connection.exec_driver_sql("INSERT INTO sagas_text(sagas_text) VALUES('delete-all')")
            self._begin_epoch(connection, cluster)

    def drop_list_indexes(self) -> None:
        """Before a large backlog is written to an empty index. `create_list_indexes` has to follow."""
        with self.database.engine.begin() as connection:
            for index in LIST_INDEXES:
                index.drop(connection, checkfirst=True)

    def create_list_indexes(self) -> None:
        """Create the indexes for lists that are missing."""
        with self.database.engine.begin() as connection:
            for index in LIST_INDEXES:
                index.create(connection, checkfirst=True)

    def fill_search(self, most: int = SEARCH_ROWS) -> None:
        """Add up to this many sagas to the search index. The reader calls it when idle, or if many are missing."""
        added = 0
        if self.database.sqlite and self.has_search:
            with self.database.engine.begin() as connection:
                added = search.add_missing(connection, most)
        self.unsearched = max(0, self.unsearched - added) if added else 0

    def belongs_to(self, cluster: str) -> bool:
        """Whether the index was built from this cluster; an empty index is assigned to it."""
        if not self.cluster and cluster:
            self.cluster = cluster
            with self.database.engine.begin() as connection:
                connection.execute(update(meta).where(meta.c.name == "cluster").values(value=cluster))
        return self.cluster == cluster or not cluster

    def offsets(self) -> dict[Place, int]:
        """The next offset to read, by topic and partition."""
        with self.database.engine.connect() as connection:
            return {(topic, number): after for topic, number, after in connection.execute(select(offsets))}

    def read_unfinished(self) -> Iterator[Row]:
        """The rows of all unfinished sagas."""
        with self.database.engine.connect() as connection:
            for (row,) in connection.execute(select(sagas.c.row).where(sagas.c.ended_at.is_(None))):
                yield decode(Row, row)

    def counts(self) -> dict[str, int]:
        """Number of sagas by state."""
        with self.database.engine.connect() as connection:
            return dict(connection.execute(select(sagas.c.state, func.count()).group_by(sagas.c.state)).all())

    def find(self, ids: list[str]) -> dict[str, Row | None]:
        """The rows of known ids; None for a saga that has ended."""
        found: dict[str, Row | None] = {}
        if not ids or not self.seq:
            return found
        with self.database.engine.connect() as connection:
            for some in chunks(ids, IDS_PER_QUERY):
                query = select(sagas.c.id, sagas.c.state, sagas.c.row).where(sagas.c.id.in_(some))
                for id, state, row in connection.execute(query):
                    found[id] = None if state in ENDED_STATES else decode(Row, row)
        return found

    def write(self, changes: Changes, read: Mapping[Place, int], seq: int) -> None:
        """Write the changes of a batch and its offsets in one transaction. `seq`: number of the last event."""
        with self.database.engine.begin() as connection:
            self._write_sagas(connection, changes.sagas.values())
            if changes.continued or changes.letters or changes.redriven:
                self._write_letters(connection, changes)
            upsert(connection, offsets, [{"topic": t, "partition": p, "next": after} for (t, p), after in read.items()])
            if seq != self.seq:
                connection.execute(update(meta).where(meta.c.name == "seq").values(value=str(seq)))
        self.seq = seq
        for tracked in changes.sagas.values():
            tracked.stored = tracked.row

    def _write_sagas(self, connection: Connection, changed: Iterable[Tracked]) -> None:
        new, moved, stepped = [], [], []
        for tracked in changed:
            before, row = tracked.stored, tracked.row
            if before is None:
                new.append(_columns(tracked))
            elif _has_same_keys(before, row):
                stepped.append(_step_columns(tracked))
            else:
                moved.append(_columns(tracked))
        upsert(connection, sagas, new)
        self.unsearched += len(new)
        execute_many(connection, _STEP, stepped)
        execute_many(connection, _MOVE, [{f"b_{name}": value for name, value in row.items()} for row in moved])

    def _write_letters(self, connection: Connection, changes: Changes) -> None:
        for some in chunks(list(changes.continued), IDS_PER_QUERY):
            connection.execute(update(letters).where(letters.c.id.in_(some)).values(open=False))
        upsert(connection, letters, [_letter_columns(place, letter) for place, letter in changes.letters.items()])
        if changes.redriven:
            connection.execute(_REDRIVEN[connection.dialect.name], [place._asdict() for place in changes.redriven])
        if changes.redriven or any(letter.parked.message is None for letter in changes.letters.values()):
            connection.execute(_CLOSE)
        self.errors = self._count_errors(connection)

    def _count_errors(self, connection: Connection) -> int:
        return connection.execute(select(func.count()).select_from(letters).where(letters.c.open)).scalar_one()

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def _text(value: Any) -> str | None:
    """A value for a text column, without NUL, which PostgreSQL cannot store."""
    return None if value is None else str(value).replace("\x00", "\ufffd")


def _columns(tracked: Tracked) -> dict[str, Any]:
    row = tracked.row
    folded = fold(row.user.name)
    return {
        "id": row.id,
        "state": row.state,
        "step": _text(row.step),
        "name": _text(row.user.name),
        "name_key": _text(folded[:MAX_NAME_KEY_LENGTH]),
        "search_key": _text(f"{folded} {fold(row.user.email)} {fold(row.id)}"),
        "email": _text(row.user.email),
        "department": _text(row.user.department),
        "first_fact": _text(fold(str(found))) if (found := first_fact(row)) else None,
        "started_at": iso(row.started_at),
        "ended_at": row.ended_at and iso(row.ended_at),
        "duration": between(row.started_at, row.ended_at) if row.ended_at else None,
        "overdue": row.overdue,
        "reason": _text(row.reason),
        "overtook": tracked.overtook,
        "seq": tracked.seq,
        "idempotency": _text(row.idempotency),
        "row": encode(row),
        "entry": _entry(tracked),
    }


def _entry(tracked: Tracked) -> bytes | None:
    return json_text.dumps(entry_view(tracked.entry)) if tracked.entry else None


def _step_columns(tracked: Tracked) -> dict[str, Any]:
    row = tracked.row
    return {
        "b_id": row.id,
        "b_step": _text(row.step),
        "b_seq": tracked.seq,
        "b_row": encode(row),
        "b_entry": _entry(tracked),
    }


def first_fact(row: Row) -> Any:
    """The fact of the plan's first step, such as the id of a device; None if unknown."""
    fact = PLAN.steps[0].fact
    return row.facts.get(fact.name) if fact else None


def _has_same_keys(before: Row, row: Row) -> bool:
    """Whether two rows have equal sort and filter keys."""
    return (
        before.state == row.state
        and before.overdue == row.overdue
        and before.reason == row.reason
        and before.started_at == row.started_at
        and first_fact(before) == first_fact(row)
    )


_STEP = (
    update(sagas)
    .where(sagas.c.id == bindparam("b_id"))
    .values({name: bindparam(f"b_{name}") for name in _STEP_COLUMNS})
)
_MOVE = (
    update(sagas)
    .where(sagas.c.id == bindparam("b_id"))
    .values({column.name: bindparam(f"b_{column.name}") for column in sagas.columns if column.name != "id"})
)


_REDRIVEN = {
    "sqlite": sqlite.insert(redriven).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(redriven).on_conflict_do_nothing(),
}
_CLOSE = (
    update(letters)
    .where(letters.c.open, exists().where(and_(*(letters.c[key.name] == key for key in redriven.primary_key))))
    .values(open=False)
)


def _letter_columns(place: tuple[str, int, int], found: Letter) -> dict[str, Any]:
    letter, message = found.parked.letter, found.parked.message
    return {
        "topic": _text(place[0]),
        "partition": place[1],
        "offset": place[2],
        "id": _text(letter.id),
        "saga": _text(letter.saga),
        "department": _text(message.user.department) if message else None,
        "service": _text(letter.service),
        "step": _text(letter.step),
        "error": _text(letter.error),
        "reason": _text(letter.reason),
        "attempts": letter.attempts,
        "attempt": message.attempt if message else 1,
        "at": iso(letter.at),
        "open": found.open,
        "readable": message is not None,
        "dlq_partition": found.partition,
        "dlq_offset": found.offset,
        "refused_by": _text(letter.refused_by),
        "original_bytes": letter.original_bytes,
        "kept_bytes": letter.kept_bytes,
    }


def upsert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or replace those with the same primary key."""
    execute_many(connection, _upsert(table, connection.dialect.name), rows)


@cache
def _upsert(table: Table, dialect: str) -> Executable:
    statement = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    keys = [column.name for column in table.primary_key]
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    upserting: Executable = statement.on_conflict_do_update(index_elements=keys, set_=others)
    return upserting


def execute_many(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    """Execute a statement for each row. Bypasses the type conversion of SQLAlchemy, which saves a third of the time."""
    if not rows:
        return
    compiled = _compiled(statement, connection.dialect, tuple(rows[0]))
    order = compiled.positiontup
    given: Any = rows if order is None else [tuple([row[name] for name in order]) for row in rows]
    connection.exec_driver_sql(str(compiled), given)


@cache
def _compiled(statement: Any, dialect: Dialect, names: tuple[str, ...]) -> Any:
    return statement.compile(dialect=dialect, column_keys=names)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive runs of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
