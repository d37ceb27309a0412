"""The console's index on each database, and the API on top of it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.unit.console.api_harness import ApiHarness, running_api
from tests.unit.console.index_harness import IndexHarness


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL database that only these tests use."""
    bin = postgres.programs()
    if bin is None:
        pytest.skip("PostgreSQL is needed: initdb and postgres")
    with postgres.running(bin) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def index_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an index, once in each database. It may hold the rows of an earlier test."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/index.sqlite"
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture
def harness(index_url: str) -> Iterator[IndexHarness]:
    """An empty index, once in each database."""
    harness = IndexHarness(index_url)
    harness.rebuild()
    yield harness
    harness.close()


@pytest.fixture
def sqlite_harness(tmp_path: Path) -> Iterator[IndexHarness]:
    """An empty index in SQLite, for tests that do not depend on the database."""
    harness = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite")
    yield harness
    harness.close()


@pytest.fixture
async def api(sqlite_harness: IndexHarness) -> AsyncIterator[ApiHarness]:
    """The API with an empty index, running."""
    async with running_api(ApiHarness(sqlite_harness)) as api:
        yield api
