"""The database of the index: SQLite or PostgreSQL. Opens it, locks it for one console, and recreates it."""

import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from saga_app.environment import WrongEnvironment

log = structlog.get_logger()

#: The index can be rebuilt, so commits need not be durable; they only have to be atomic.
PRAGMAS = {
    "journal_mode": "WAL",
    "synchronous": "NORMAL",
    "busy_timeout": "10000",
    "temp_store": "MEMORY",
    "cache_size": "-16384",  # KiB; each saga touches eight indexes, for which the default of 2 MiB is too small
    "wal_autocheckpoint": "4000",  # pages; fewer checkpoints of pages that change often
}


class InUse(RuntimeError):
    """Another console uses this index; each console needs its own."""


#: PostgreSQL messages for errors in the URL, which retries cannot fix. Connection errors have no SQLSTATE.
_REFUSED = re.compile(r"FATAL:.*(authentication failed|does not exist|no pg_hba\.conf entry|permission denied)")

#: First bytes of an SQLite file.
_MAGIC = b"SQLite format 3\0"


class Database:
    """An engine with an exclusive lock. Raises `WrongEnvironment` for an invalid URL."""

    def __init__(self, url: str) -> None:
        try:
            found = make_url(url)
        except (ArgumentError, ValueError) as error:
            raise WrongEnvironment(f"SAGA_INDEX is not a valid database URL: {error}") from None
        self.sqlite = found.get_backend_name() == "sqlite"
        self.url = found.set(drivername="sqlite" if self.sqlite else "postgresql+psycopg")  # the installed drivers
        self.path = Path(found.database) if self.sqlite and found.database else None
        self.engine: Engine = self._make_engine()
        self.claim: Claim | None = None

    def check(self) -> None:
        """Check that the database can be opened. A server that is down is no error, because it may start later.

        Raises `WrongEnvironment`.
        """
        if self.path is not None:
            _check_file(self.path, self)
            return
        try:
            with self.engine.connect():
                pass
        except DBAPIError as error:
            if _REFUSED.search(str(error.orig)):
                raise self.unusable(error.orig) from None
        except UnicodeError as error:  # a host name that cannot be encoded
            raise self.unusable(error) from None

    def unusable(self, reason: object, remedy: str = "set SAGA_INDEX to another database") -> WrongEnvironment:
        """The error for an index that cannot be used. `reason`: error of the database; `remedy`: what to do."""
        return WrongEnvironment(f"SAGA_INDEX={self.url.render_as_string()} cannot be used ({reason}): {remedy}")

    def _make_engine(self) -> Engine:
        try:
            return self._engine()
        except ImportError as error:
            raise self.unusable(error, "install the driver: pip install 'psycopg[binary]'") from None
        except OSError as error:
            raise self.unusable(error.strerror or error, "set it to a file in a writable directory") from None

    def _engine(self) -> Engine:
        if not self.sqlite:
            return create_engine(self.url, pool_size=6, pool_pre_ping=True)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self.url, pool_size=6)
        event.listen(engine, "connect", _prepare)
        return engine

    def open(self) -> None:
        """Lock the database. Raises `InUse`."""
        if self.claim is None:
            self.claim = (
                _claim_file(self.path) if self.path else _claim_server(self.engine) if not self.sqlite else None
            )

    def is_deleted(self) -> bool:
        """Whether the database file was deleted or replaced."""
        claimed = self.claim.inode if self.claim else None
        if self.path is None or claimed is None:
            return False
        try:
            return self.path.stat().st_ino != claimed
        except FileNotFoundError:
            return True

    def recreate(self) -> None:
        """Create a new database file in place of a deleted or damaged one."""
        self.close()
        if self.path is not None:
            for left in (self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))):
                left.unlink(missing_ok=True)
        self.engine = self._make_engine()
        self.open()

    def close(self) -> None:
        """Close the database and release the lock; it can be opened again."""
        claim, self.claim = self.claim, None
        if claim is not None and not self.sqlite:
            claim.release()
        self.engine.dispose()
        if claim is not None and self.sqlite:
            claim.release()  # last, because closing any descriptor of a file releases the locks that SQLite holds on it


class Claim:
    """An exclusive lock, held until it is released or the process ends."""

    def __init__(self, release: Callable[[], None], inode: int | None = None) -> None:
        self.release, self.inode = release, inode


def _check_file(path: Path, database: Database) -> None:
    """Check that the file is empty or an SQLite database, and that file and directory are writable."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        begins = os.pread(descriptor, len(_MAGIC), 0)
        os.close(descriptor)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(0, "its directory is not writable")
    except OSError as error:
        raise database.unusable(error.strerror or error, "set it to a file that is writable for this account") from None
    if begins not in (b"", _MAGIC):
        raise database.unusable("the file is not an SQLite database", "set it to another file, or delete this one")


def _claim_file(path: Path) -> Claim:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # private, because it holds personal data
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # independent of the locks of SQLite
    except BlockingIOError:
        os.close(descriptor)
        raise InUse(f"another console uses the index {path}; give each its own SAGA_INDEX") from None
    return Claim(lambda: os.close(descriptor), os.fstat(descriptor).st_ino)


def _claim_server(engine: Engine) -> Claim:
    key = int.from_bytes(blake2b(b"saga console index", digest_size=7).digest())
    connection = engine.connect()
    held = connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar()
    connection.commit()
    if not held:
        connection.close()
        raise InUse(f"another console uses the index in {engine.url.database}; give each its own SAGA_INDEX")

    def release() -> None:
        with suppress(DBAPIError):  # the server may be down. Releasing explicitly lets the next console lock it at once
            connection.execute(text("select pg_advisory_unlock(:key)"), {"key": key})
        connection.invalidate()  # the lock belongs to the session, which must not return to the pool
        connection.close()

    return Claim(release)


def _prepare(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for name, value in PRAGMAS.items():
        cursor.execute(f"PRAGMA {name}={value}")
    cursor.close()


def add_search(connection: Connection) -> bool:
    """Create a trigram index for searches; returns whether the database supports it."""
    statements = _SQLITE if connection.engine.dialect.name == "sqlite" else _POSTGRESQL
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.execute(text(statement))
    except DBAPIError as error:
        log.warning("no trigram index, searches scan all rows", problem=str(error.orig))
        return False
    return True


#: Filled by `Index.fill_search`.
_SQLITE = ("CREATE VIRTUAL TABLE IF NOT EXISTS sagas_text USING fts5(found, content='', tokenize='trigram')",)
_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX IF NOT EXISTS sagas_text ON sagas USING gin (search_key gin_trgm_ops)",
)
