"""The RocksDB store of a table: its tuning, its files, and rebuilding it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP
from structlog.testing import capture_logs

from devtools.wait import until
from saga_app.stream.table.rocks_store import DEFAULT_OPTIONS
from saga_app.stream.table.rows import NO_OFFSET
from tests.fakes.stream import make_table


def test_reading_a_partition_that_is_not_owned_creates_no_database(tmp_path: Path) -> None:
    store: Any = make_table(tmp_path, "rocksdb://").store
    assert store.read(3, b"k") is None
    assert list(store.rows(3)) == []
    assert not store.dbs


def test_options_of_the_table_override_the_tuned_defaults(tmp_path: Path) -> None:
    tuned: Any = make_table(tmp_path, "rocksdb://").store
    assert {name: getattr(tuned.rocksdb_options, name) for name in DEFAULT_OPTIONS} == DEFAULT_OPTIONS
    own: Any = make_table(tmp_path, "rocksdb://", max_open_files=10).store
    found = {name: getattr(own.rocksdb_options, name) for name in DEFAULT_OPTIONS}
    assert found == {**DEFAULT_OPTIONS, "max_open_files": 10}


def test_compaction_of_new_rows_does_not_rewrite_files_of_old_rows(tmp_path: Path) -> None:
    table: Any = make_table(tmp_path, "rocksdb://")
    write_rows(table.store, range(32))
    oldest = until(lambda: compacted_files(table.store), 10, "RocksDB did not compact the first rows")[0]
    write_rows(table.store, range(32, 96))
    until(lambda: len(compacted_files(table.store)) > 5, 10, "RocksDB did not compact the later rows")
    assert compacted_files(table.store)[0] == oldest


@pytest.mark.field(29, 34)
@pytest.mark.parametrize("scheme", ["memory://", "rocksdb://"])
def test_a_table_ahead_of_its_changelog_is_emptied_and_its_rows_set_aside(tmp_path: Path, scheme: str) -> None:
    table = make_table(tmp_path, scheme)
    for partition in (0, 1):
        table.store.apply(partition, [(b"k", b"v")], 41)
    assert not table.reset_if_ahead(0, 42), "a table that has read exactly its changelog was reset"
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
    """Write 1 MiB of incompressible rows for each number, with keys in the order of the numbers."""
    for number in mebibytes:
        store.apply(0, [(b"%06d" % (number * 512 + k), os.urandom(2048)) for k in range(512)], number)


def compacted_files(store: Any) -> list[str]:
    """The names of the files below level 0, ordered by their first key."""
    files = [file for file in store.dbs[0].live_files() if file["level"] > 0]
    return [file["name"] for file in sorted(files, key=lambda file: bytes(file["start_key"]))]
