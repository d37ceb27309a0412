"""RocksDB as it is set up for the table."""

from pathlib import Path
from typing import Any

from tests.unit.stream.fakes import make_table


def test_a_partition_that_is_not_here_has_no_rows_and_is_not_made(tmp_path: Path) -> None:
    store: Any = make_table(tmp_path, "rocksdb://").store
    assert store.read(3, b"k") is None
    assert list(store.rows(3)) == []
    assert not store._dbs


def test_rocksdb_is_tuned_unless_the_table_says_otherwise(tmp_path: Path) -> None:
    tuned: Any = make_table(tmp_path, "rocksdb://").store
    assert tuned.rocksdb_options.write_buffer_size == 4 * 2**20
    assert tuned.rocksdb_options.block_cache_size == 8 * 2**20
    assert tuned.rocksdb_options.bloom_filter_size == 10
    assert tuned.rocksdb_options.max_open_files == 200
    own: Any = make_table(tmp_path, "rocksdb://", max_open_files=10).store
    assert own.rocksdb_options.max_open_files == 10
    assert own.rocksdb_options.write_buffer_size == 4 * 2**20
