"""Every operation of /openapi.json, called with what schemathesis makes up: no 500, and nothing the contract lacks."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.console.filled_index import FilledIndex
from tests.unit.console.operator_harness import garbage, parked
from tests.unit.console.test_api import Room
from tests.web_server import serving

pytestmark = [pytest.mark.field(37), pytest.mark.timeout(400)]

#: Examples of each operation, and the seed that makes a failure come again.
EXAMPLES, SEED = 25, 1


@pytest.fixture
async def room(on_sqlite: FilledIndex) -> AsyncIterator[Any]:
    """With sagas, dead letters, and streams that end at once."""
    made = Room(on_sqlite)
    made.add("ada")
    made.add("bob", steps=1)
    made.desk.write(lambda: parked(made.logs, "cleo"))
    made.desk.write(lambda: garbage(made.logs))
    made.hub.stop()
    async with serving(made.add_routes) as client:
        made.client = client  # type: ignore[attr-defined]
        yield made


async def test_no_operation_fails_or_breaks_its_contract(room: Any, tmp_path: Path, now: Callable[[str], None]) -> None:
    url = room.client.make_url("/openapi.json")
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(url),
        f"--seed={SEED}",
        f"--max-examples={EXAMPLES}",
    ]
    command += [
        "--continue-on-failure",
        "--phases=examples,coverage,fuzzing",
        "--generation-deterministic",
        "--no-color",
        "--request-timeout=20",
    ]
    # That a cursor is one of ours, and a CSV has its header line, is not for a schema to say.
    command += ["--exclude-checks=positive_data_acceptance"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    now(next(line.strip() for line in said.decode().splitlines() if "generated" in line))
