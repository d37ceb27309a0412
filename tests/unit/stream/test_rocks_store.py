"""RocksDB as it is set up for the table."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP
from structlog.testing import capture_logs

from devtools.wait import until
from saga_app.stream.table.rows import NO_OFFSET
from tests.fakes.stream import make_table


def test_a_partition_that_is_not_here_has_no_rows_and_is_not_made(tmp_path: Path) -> None:
    store: Any = make_table(tmp_path, "rocksdb://").store
    assert store.read(3, b"k") is None
    assert list(store.rows(3)) == []
    assert not store.dbs


def test_rocksdb_is_tuned_unless_the_table_says_otherwise(tmp_path: Path) -> None:
    tuned: Any = make_table(tmp_path, "rocksdb://").store
    assert tuned.rocksdb_options.write_buffer_size == 4 * 2**20
    assert tuned.rocksdb_options.block_cache_size == 8 * 2**20
    assert tuned.rocksdb_options.bloom_filter_size == 10
    assert tuned.rocksdb_options.target_file_size_base == 8 * 2**20
    assert tuned.rocksdb_options.max_open_files == 200
    own: Any = make_table(tmp_path, "rocksdb://", max_open_files=10).store
    assert own.rocksdb_options.max_open_files == 10
    assert own.rocksdb_options.write_buffer_size == 4 * 2**20


def test_files_of_old_sagas_are_left_alone_when_those_of_new_ones_are_merged(tmp_path: Path) -> None:
    table: Any = make_table(tmp_path, "rocksdb://")
    write_rows(table.store, range(32))
    oldest = until(lambda: bottom(table.store), 10, "nothing was merged")[0]
    write_rows(table.store, range(32, 96))
    until(lambda: len(bottom(table.store)) > 5, 10, "what came later was not merged")
    assert bottom(table.store)[0] == oldest


@pytest.mark.field(29, 34)
@pytest.mark.parametrize("scheme", ["memory://", "rocksdb://"])
def test_a_table_that_is_ahead_of_its_changelog_begins_again_and_keeps_the_old_rows(
    tmp_path: Path, scheme: str
) -> None:
    table = make_table(tmp_path, scheme)
    for partition in (0, 1):
        table.store.apply(partition, [(b"k", b"v")], 41)
    assert not table.reset_if_ahead(0, 42), "the changelog ends where it was read to"
    with capture_logs() as logs:
        assert table.reset_if_ahead(0, 17)
    assert [(line["changelog"], line["read_up_to"], line["changelog_end"]) for line in logs] == [
        ("unit-rows-changelog[0]", 41, 17)
    ]
    assert list(table.rows()) == [(1, b"k", b"v")]
    assert table.store.persisted_offset(TP("unit-rows-changelog", 0)) == NO_OFFSET
    table.store.apply(0, [(b"new", b"row")], 0)
    assert table.read(0, b"new") == b"row"
    assert len(list(tmp_path.rglob("*-of-another-changelog/*.db"))) == (scheme == "rocksdb://")


def write_rows(store: Any, mebibytes: Iterable[int]) -> None:
    """So many of them, which nothing makes smaller; the keys go on from one to the next."""
    for number in mebibytes:
        store.apply(0, [(b"%06d" % (number * 512 + k), os.urandom(2048)) for k in range(512)], number)


def bottom(store: Any) -> list[str]:
    """The files into which all is merged at last, those with the first keys first."""
    files = [file for file in store.dbs[0].live_files() if file["level"] > 0]
    return [file["name"] for file in sorted(files, key=lambda file: bytes(file["start_key"]))]
