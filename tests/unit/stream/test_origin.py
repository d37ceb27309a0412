"""Tables of another cluster or of a recreated changelog are set aside, not used and not deleted."""

import json
from pathlib import Path

import pytest

from saga_app.stream.table.origin import FILE_NAME, Origin, claim

pytestmark = pytest.mark.field(29)

OURS = Origin("cluster-a", {"p-sagas-changelog": "t1"})


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A directory with two partitions of a table, and the directory of Faust's backups."""
    directory = tmp_path / "v1" / "tables"
    for name in ("sagas-0.db", "sagas-7.db", "sagas-backups"):
        (directory / name).mkdir(parents=True)
    return directory


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_tables_of_the_same_origin_stay(tables: Path) -> None:
    OURS.write(tables)
    assert claim(tables, OURS) is None
    assert names_in(tables) == {"sagas-0.db", "sagas-7.db", "sagas-backups", FILE_NAME}


def test_tables_without_a_record_of_their_origin_are_adopted(tables: Path) -> None:
    assert claim(tables, OURS) is None
    assert {"sagas-0.db", "sagas-7.db"} < names_in(tables)
    assert Origin.read(tables) == OURS


@pytest.mark.parametrize(
    ("current", "reason_parts"),
    [
        (Origin("cluster-b", {"p-sagas-changelog": "t1"}), ("cluster cluster-a", "cluster cluster-b")),
        (Origin("cluster-a", {"p-sagas-changelog": "t2"}), ("p-sagas-changelog was deleted", "t1", "t2")),
    ],
)
def test_tables_of_another_cluster_or_changelog_are_set_aside(
    tables: Path, current: Origin, reason_parts: tuple[str, ...]
) -> None:
    OURS.write(tables)
    moved = claim(tables, current)
    assert moved is not None
    reason, path = moved
    assert all(part in reason for part in reason_parts)
    assert names_in(path) == {"sagas-0.db", "sagas-7.db"}
    assert names_in(tables) == {"sagas-backups", FILE_NAME}
    assert claim(tables, current) is None, "the next start did not recognise its own tables"


def test_tables_set_aside_twice_for_one_cluster_are_both_kept(tables: Path) -> None:
    paths = []
    for origin in (OURS, Origin("cluster-b", {}), OURS, Origin("cluster-b", {})):
        moved = claim(tables, origin)
        paths += [moved[1]] if moved else []
        (tables / "sagas-0.db").mkdir(exist_ok=True)
    assert len(set(paths)) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cluster": "a"}', '{"cluster": "a", "topics": 7}', "\x00"])
def test_an_unreadable_record_of_the_origin_counts_as_missing(tables: Path, content: str) -> None:
    (tables / FILE_NAME).write_text(content)
    assert Origin.read(tables) is None
    assert claim(tables, OURS) is None


def test_an_additional_changelog_sets_nothing_aside(tables: Path) -> None:
    OURS.write(tables)
    assert claim(tables, Origin("cluster-a", {"p-sagas-changelog": "t1", "p-more-changelog": "t9"})) is None
    assert json.loads((tables / FILE_NAME).read_text())["topics"]["p-more-changelog"] == "t9"
