"""The index, as its one writer sees it: rows and dead letters in, together with how far the topics have been read."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import orjson
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
from saga_app.console.index.database import Database, add_search
from saga_app.console.index.fold import Changes, Letter, Tracked
from saga_app.console.index.tables import SCHEMA, letters, meta, metadata, offsets, redriven, sagas
from saga_app.saga.messages import ENDED, Row, decode, encode
from saga_app.saga.text import fold
from saga_app.saga.times import between

log = structlog.get_logger()

Place = tuple[str, int]
T = TypeVar("T")

#: Ids in one question: databases have limits.
MANY = 500

#: Characters of a name's key: a folded name may be many times as long, and a database limits what an index holds.
KEY_LENGTH = 200

#: The columns that a step forward changes; what else a row says is in the indexes, and costs more to change.
_LIGHT = ("step", "seq", "row", "told")


class Index:
    """Opened by `open`, written by `write`, thrown away by `rebuild`. One thread at a time."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.epoch, self.seq, self.cluster = "", 0, ""
        self.errors = 0
        self.has_search = False

    def open(self) -> None:
        """Claim the database and make what is missing; one of another schema, or broken, is made anew.

        Raises `database.InUse`.
        """
        self.database.open()
        try:
            if not self._read_meta():
                self._create()
        except DBAPIError as error:
            if not self.database.sqlite or "locked" in str(error.orig):
                raise
            log.warning("the index cannot be read, it is made anew", problem=str(error.orig))
            self.database.renew()
            self._create()

    def _read_meta(self) -> bool:
        if not inspect(self.database.engine).has_table("meta"):
            return False
        with self.database.engine.connect() as connection:
            found = dict(connection.execute(select(meta.c.name, meta.c.value)).all())
            if found.get("schema") != str(SCHEMA):
                return False
            self.errors = self._count_errors(connection)
        self.epoch, self.seq, self.cluster = found["epoch"], int(found["seq"]), found["cluster"]
        self.has_search = found["search"] == "1"
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
        values = {"schema": SCHEMA, "epoch": self.epoch, "seq": 0, "cluster": cluster, "search": int(self.has_search)}
        connection.execute(delete(meta))
        connection.execute(insert(meta), [{"name": name, "value": str(value)} for name, value in values.items()])

    def rebuild(self, cluster: str) -> None:
        """Forget everything: what is read next is read from the beginning, of this cluster, in a new epoch."""
        if self.database.gone():
            self.database.renew()
            self._create()
        with self.database.engine.begin() as connection:
            for table in (sagas, letters, redriven, offsets):
                connection.execute(delete(table))
            if self.has_search and self.database.sqlite:
                connection.exec_driver_sql("INSERT INTO sagas_text(sagas_text) VALUES('delete-all')")
            self._begin_epoch(connection, cluster)

    def belongs_to(self, cluster: str) -> bool:
        """Whether it was made from this cluster; an empty one is taken into its service."""
        if not self.cluster and cluster:
            self.cluster = cluster
            with self.database.engine.begin() as connection:
                connection.execute(update(meta).where(meta.c.name == "cluster").values(value=cluster))
        return self.cluster == cluster or not cluster

    def offsets(self) -> dict[Place, int]:
        """The next record to read, by topic and partition."""
        with self.database.engine.connect() as connection:
            return {(topic, number): after for topic, number, after in connection.execute(select(offsets))}

    def unfinished(self) -> Iterator[Row]:
        """All rows that have not ended."""
        with self.database.engine.connect() as connection:
            for (row,) in connection.execute(select(sagas.c.row).where(sagas.c.ended_at.is_(None))):
                yield decode(Row, row)

    def counts(self) -> dict[str, int]:
        """Sagas by state."""
        with self.database.engine.connect() as connection:
            return dict(connection.execute(select(sagas.c.state, func.count()).group_by(sagas.c.state)).all())

    def find(self, ids: list[str]) -> dict[str, Row | None]:
        """Those of these ids that it knows: their rows, or None where the saga has ended."""
        found: dict[str, Row | None] = {}
        if not ids or not self.seq:
            return found
        with self.database.engine.connect() as connection:
            for some in chunks(ids, MANY):
                query = select(sagas.c.id, sagas.c.state, sagas.c.row).where(sagas.c.id.in_(some))
                for id, state, row in connection.execute(query):
                    found[id] = None if state in ENDED else decode(Row, row)
        return found

    def write(self, changes: Changes, read: Mapping[Place, int], seq: int) -> None:
        """All that a batch has led to, and how far it has been read, in one transaction."""
        with self.database.engine.begin() as connection:
            self._write_sagas(connection, changes.sagas.values())
            if changes.gone_on or changes.letters or changes.redriven:
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
            elif _looks_alike(before, row):
                stepped.append(_light(tracked))
            else:
                moved.append(_columns(tracked))
        upsert(connection, sagas, new)
        many(connection, _STEP, stepped)
        many(connection, _MOVE, [{f"b_{name}": value for name, value in row.items()} for row in moved])

    def _write_letters(self, connection: Connection, changes: Changes) -> None:
        for some in chunks(list(changes.gone_on), MANY):
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
        """Give it up."""
        self.database.close()


def _text(value: Any) -> str | None:
    """For a column of text: whatever a record holds there, without the character that PostgreSQL cannot store."""
    return None if value is None else str(value).replace("\x00", "\ufffd")


def _columns(tracked: Tracked) -> dict[str, Any]:
    row = tracked.row
    folded = fold(row.user.name)
    return {
        "id": row.id,
        "state": row.state,
        "step": _text(row.step),
        "name": row.user.name,
        "name_key": folded[:KEY_LENGTH],
        "search_key": f"{folded} {fold(row.user.email)} {fold(row.id)}",
        "email": row.user.email,
        "department": row.user.department,
        "first_fact": _text(fold(str(found))) if (found := first_fact(row)) else None,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "duration": between(row.started_at, row.ended_at) if row.ended_at else None,
        "overdue": row.overdue,
        "reason": _text(row.reason),
        "overtook": tracked.overtook,
        "seq": tracked.seq,
        "idempotency": row.idempotency,
        "row": encode(row),
        "told": orjson.dumps(tracked.entry) if tracked.entry else None,
    }


def _light(tracked: Tracked) -> dict[str, Any]:
    told = orjson.dumps(tracked.entry) if tracked.entry else None
    row = tracked.row
    return {"b_id": row.id, "b_step": _text(row.step), "b_seq": tracked.seq, "b_row": encode(row), "b_told": told}


def first_fact(row: Row) -> Any:
    """What the first step of the plan found out, such as the id of a device."""
    fact = PLAN.steps[0].fact
    return row.facts.get(fact.name) if fact else None


def _looks_alike(before: Row, row: Row) -> bool:
    """Whether the rows differ in nothing that the list can be sorted or filtered by."""
    return (
        before.state == row.state
        and before.overdue == row.overdue
        and before.reason == row.reason
        and before.started_at == row.started_at
        and first_fact(before) == first_fact(row)
    )


_STEP = update(sagas).where(sagas.c.id == bindparam("b_id")).values({name: bindparam(f"b_{name}") for name in _LIGHT})
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
        "id": letter.id,
        "saga": _text(letter.saga),
        "department": message.user.department if message else None,
        "service": _text(letter.service),
        "step": _text(letter.step),
        "error": _text(letter.error),
        "reason": _text(letter.reason),
        "attempts": letter.attempts,
        "attempt": message.attempt if message else 1,
        "at": letter.at,
        "open": found.open,
        "readable": message is not None,
        "dlq_partition": found.partition,
        "dlq_offset": found.offset,
        "refused_by": letter.refused_by,
        "original_bytes": letter.original_bytes,
        "kept_bytes": letter.kept_bytes,
    }


def upsert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert, or replace what has the same key."""
    many(connection, _upsert(table, connection.dialect.name), rows)


@cache
def _upsert(table: Table, dialect: str) -> Executable:
    statement = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    keys = [column.name for column in table.primary_key]
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    upserting: Executable = statement.on_conflict_do_update(index_elements=keys, set_=others)
    return upserting


def many(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    """The statement for each of the rows, given to the driver as they are: converting nothing saves a third."""
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
    """Runs of so many at most."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
