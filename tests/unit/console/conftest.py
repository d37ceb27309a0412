"""Indexes for tests, in every database that the console knows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.unit.console.filled_index import FilledIndex


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL of the tests' own."""
    bin = postgres.programs()
    if bin is None:
        pytest.skip("PostgreSQL is needed: initdb and postgres")
    with postgres.running(bin) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an index that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/index.sqlite"
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture
def reading(url: str) -> Iterator[Callable[..., FilledIndex]]:
    """Makes readings of an empty index; they are closed by us."""
    made: list[FilledIndex] = []

    def make(live: bool = True) -> FilledIndex:
        made.append(FilledIndex(url, live))
        if len(made) == 1:
            made[0].index.rebuild("test")
            made[0].restart()
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[FilledIndex]:
    """An empty index, where the database does not matter."""
    made = FilledIndex(f"sqlite:///{tmp_path}/index.sqlite")
    yield made
    made.close()
