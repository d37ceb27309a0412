"""Schemathesis calls every operation of /openapi.json: no response is a 500 or contradicts the contract."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.unit.console.api_harness import ApiHarness, running_api
from tests.unit.console.index_harness import IndexHarness
from tests.unit.console.operator_harness import write_garbage, write_parked_sagas

pytestmark = [pytest.mark.field(37), pytest.mark.timeout(400)]

#: Examples for each operation, and the seed with which a failure can be repeated.
EXAMPLES, SEED = 25, 1


@pytest.fixture
async def api(sqlite_harness: IndexHarness) -> AsyncIterator[ApiHarness]:
    """The API with sagas and dead letters; its event streams end immediately."""
    api = ApiHarness(sqlite_harness)
    api.add_saga("ada")
    api.add_saga("bob", steps=1)
    api.operator.write(lambda: write_parked_sagas(api.topics, "cleo"))
    api.operator.write(lambda: write_garbage(api.topics))
    api.hub.stop()
    async with running_api(api):
        yield api


async def test_no_operation_fails_or_violates_its_contract(
    api: ApiHarness, tmp_path: Path, now: Callable[[str], None]
) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(api.client.make_url("/openapi.json")),
        f"--seed={SEED}",
        f"--max-examples={EXAMPLES}",
        "--continue-on-failure",
        "--phases=examples,coverage,fuzzing",
        "--generation-deterministic",
        "--no-color",
        "--request-timeout=20",
        # a schema cannot express which cursors are valid, and that a CSV file needs a header
        "--exclude-checks=positive_data_acceptance",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    now(next(line.strip() for line in output.decode().splitlines() if "generated" in line))
