"""Rows on disk: a RocksDB for each partition."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import rocksdict
from faust.stores import rocksdb
from faust.types import TP

from saga_app.stream.table import origin
from saga_app.stream.table.rows import NOTHING, Row

#: Memory and files of one partition, in bytes and pieces; Faust's defaults are gigabytes. A Bloom filter of b bits
#: a key lets 0.6185 ** b of the look-ups of a new saga through to a block: of Faust's 3 a quarter, of 10 one in 100.
#: Files have an end: ids sort by time, so those of old sagas are left alone when new ones are merged, and each merge
#: costs what is new. Faust's have none, and each merge wrote the whole partition again.
TUNED: Mapping[str, int] = {
    "write_buffer_size": 4 * 1024 * 1024,
    "block_cache_size": 8 * 1024 * 1024,
    "bloom_filter_size": 10,
    "target_file_size_base": 8 * 1024 * 1024,
    "max_open_files": 200,
}


class CannotStore(RuntimeError):
    """The disk is full, or worse. Nothing is lost: the changelog has the rows, and a restart recovers them."""

    def __init__(self, directory: str, why: object) -> None:
        super().__init__(
            f"rows cannot be written to {directory} ({why}): make room there, or set another SAGA_DATADIR; "
            "the worker ends, and recovers them from Kafka when it is started again"
        )


class RocksStore(rocksdb.Store):
    """The store of `rocksdb://`: Faust's, read and written by partition; rows and offset in one atomic write."""

    def read(self, partition: int, key: bytes) -> bytes | None:
        db: Any = self._dbs.get(partition)  # never opens: a view may ask for a partition of another worker
        row: bytes | None = db.get(key) if db is not None else None
        return row

    def partitions(self) -> list[int]:
        return sorted(self._dbs)

    def rows(self, partition: int, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        db: Any = self._dbs.get(partition)
        if db is not None:
            for key, value in db.items(from_key=after):
                if key not in (self.offset_key, after):
                    yield key, value

    def apply(self, partition: int, rows: Iterable[Row], offset: int) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            elif key != self.offset_key:  # a stranger's record in the changelog must not move the offset
                batch.put(key, value)
        batch.put(self.offset_key, b"%d" % offset)
        db: Any = self._db_for_partition(partition)
        try:
            db.write(batch)
        except Exception as error:
            raise CannotStore(str(self.path), error) from None

    def _open_for_partition(self, partition: int) -> Any:
        try:
            return super()._open_for_partition(partition)
        except Exception as error:
            if "lock" in str(error).lower():  # Faust tries it again
                raise
            raise CannotStore(str(self.path), error) from None

    def set_aside(self, partition: int) -> str:
        """Begin again with no rows of this partition; the old ones are renamed. Returns where they are now."""
        db: Any = self._dbs.pop(partition)
        db.close()
        path = self.partition_path(partition)
        moved = origin.set_aside(path.parent, [path], "another-changelog")
        self._db_for_partition(partition)
        return str(moved / path.name)

    def persisted_offset(self, tp: TP) -> int:
        offset = super().persisted_offset(tp)
        return NOTHING if offset is None else offset


def new(*args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> RocksStore:
    """A store as Faust makes it, with TUNED memory unless `options` say otherwise."""
    return RocksStore(*args, options={**TUNED, **(options or {})}, **kwargs)
