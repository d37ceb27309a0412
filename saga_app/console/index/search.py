"""The search index of SQLite: which sagas contain a text.

It is filled after the sagas are written, because adding a saga to it takes as long as everything else that is written
for the saga. `meta` has the last row that it contains; queries scan the rows after it.
"""

from sqlalchemy import Connection, text

_SEARCHED = "(SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'searched')"
_MISSING = text(f"SELECT count(*) FROM sagas WHERE rowid > {_SEARCHED}")
_LAST_TO_ADD = text(
    f"SELECT max(rowid) FROM (SELECT rowid FROM sagas WHERE rowid > {_SEARCHED} ORDER BY rowid LIMIT :most)"
)
_ADD = text(
    "INSERT INTO sagas_text(rowid, found) "
    f"SELECT rowid, search_key FROM sagas WHERE rowid > {_SEARCHED} AND rowid <= :last"
)
_MARK = text("UPDATE meta SET value = :last WHERE name = 'searched'")

#: The rows of sagas whose search key contains a text. Parameters: `q`, the text in quotation marks, and `part`, a
#: pattern for LIKE.
CONTAINING = (
    "SELECT rowid FROM sagas_text WHERE sagas_text MATCH :q UNION ALL "
    f"SELECT rowid FROM sagas WHERE rowid > {_SEARCHED} AND search_key LIKE :part ESCAPE '!'"
)


def count_missing(connection: Connection) -> int:
    """The number of sagas that the search index does not contain."""
    return int(connection.execute(_MISSING).scalar_one())


def add_missing(connection: Connection, most: int) -> int:
    """Add up to `most` sagas, in the order in which they were written. Returns how many; 0 if none is missing."""
    (last,) = connection.execute(_LAST_TO_ADD, {"most": most}).one()
    if last is None:
        return 0
    added = connection.execute(_ADD, {"last": last}).rowcount
    connection.execute(_MARK, {"last": str(last)})
    return added
