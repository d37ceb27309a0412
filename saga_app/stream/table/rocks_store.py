"""Rows on disk: a RocksDB for each partition."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import rocksdict
from faust.types import TP

from saga_app.stream.table import origin
from saga_app.stream.table.rows import NO_OFFSET, Row
from saga_app.stream.upstream.faust import RocksDBStoreHooks

#: Memory and files of one partition (bytes, and numbers of files); Faust's defaults take gigabytes. With a Bloom filter
#: of b bits a key, 0.6185 ** b of the look-ups of absent keys read a block: a quarter with Faust's 3, 1 % with 10. The
#: size of files is limited, because keys sort by time: files of old rows are then left alone by a compaction, which
#: costs only what is new. Without a limit, as in Faust, each compaction wrote the whole partition.
DEFAULT_OPTIONS: Mapping[str, int] = {
    "write_buffer_size": 2 * 1024 * 1024,
    "block_cache_size": 4 * 1024 * 1024,
    "bloom_filter_size": 10,
    "target_file_size_base": 8 * 1024 * 1024,
    "max_open_files": 200,
}


class CannotStore(RuntimeError):
    """Rows cannot be written to disk. Nothing is lost: the changelog has the rows, and a restart recovers them."""

    def __init__(self, directory: str, why: object) -> None:
        super().__init__(
            f"rows cannot be written to {directory} ({why}): free disk space there, or set another SAGA_DATADIR; "
            "the worker exits, and recovers them from Kafka when it is started again"
        )


class RocksStore(RocksDBStoreHooks):
    """The store of `rocksdb://`: Faust's, accessed by partition; rows and offset are written atomically."""

    def read(self, partition: int, key: bytes) -> bytes | None:
        db: Any = self.dbs.get(partition)  # never opens: a view may ask for a partition of another worker
        row: bytes | None = db.get(key) if db is not None else None
        return row

    def partitions(self) -> list[int]:
        return sorted(self.dbs)

    def rows(self, partition: int, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        db: Any = self.dbs.get(partition)
        if db is not None:
            for key, value in db.items(from_key=after):
                if key not in (self.offset_key, after):
                    yield key, value

    def apply(self, partition: int, rows: Iterable[Row], offset: int) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            elif key != self.offset_key:  # a foreign record in the changelog must not change the offset
                batch.put(key, value)
        batch.put(self.offset_key, b"%d" % offset)
        db: Any = self.db_for_partition(partition)
        try:
            db.write(batch)
        except Exception as error:
            raise CannotStore(str(self.path), error) from None

    def open_partition(self, partition: int) -> Any:
        try:
            return super().open_partition(partition)
        except Exception as error:
            if "lock" in str(error).lower():  # Faust retries
                raise
            raise CannotStore(str(self.path), error) from None

    def set_aside(self, partition: int) -> str:
        """Empty this partition; its database is renamed. Returns where it is now."""
        self.close_partition(partition)
        path = self.partition_path(partition)
        moved = origin.set_aside(path.parent, [path], "another-changelog")
        self.db_for_partition(partition)
        return str(moved / path.name)

    def persisted_offset(self, tp: TP) -> int:
        offset = super().persisted_offset(tp)
        return NO_OFFSET if offset is None else offset


def new(*args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> RocksStore:
    """Create a store with Faust's arguments for one; `options` override DEFAULT_OPTIONS."""
    return RocksStore(*args, options={**DEFAULT_OPTIONS, **(options or {})}, **kwargs)
