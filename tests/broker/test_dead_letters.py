"""Redrive and rollback of dead letters, from the console to the services, on the embedded broker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from devtools.wait import eventually
from saga_app.local.broker import Broker
from saga_app.service.kafka.topics import TOPICS
from tests.broker.service_processes import ServiceProcesses, post, wait_for_state
from tests.console_server import ConsoleClient, running, write
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS


@pytest.fixture
async def failing_authorizer(tmp_path: Path) -> AsyncIterator[tuple[ConsoleClient, ServiceProcesses, str]]:
    """A console, the services, and HOST:PORT of the broker. The Authorizer fails permanently."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Broker(topics=dict.fromkeys(TOPICS, PARTITIONS)))
        services = ServiceProcesses(broker.bootstrap, tmp_path)
        stack.callback(services.end)
        services.start("provisioner")
        services.start("authorizer", SAGA_ERROR_RATE="1")
        services.start("notifier")
        console = await stack.enter_async_context(running(broker.bootstrap))
        yield await console.wait_until_ready(), services, broker.bootstrap


async def timeline(console: ConsoleClient, id: str) -> list[tuple[str, str, str | None]]:
    """Step, kind and operator of each entry in the trace of a saga."""
    entries = (await console.get(f"/api/sagas/{id}/trace"))["entries"]
    return [(entry["step"], entry["kind"], entry["data"].get("by")) for entry in entries]


async def test_redrive_and_rollback_of_parked_sagas_name_their_operator(
    failing_authorizer: tuple[ConsoleClient, ServiceProcesses, str],
) -> None:
    console, services, _ = failing_authorizer
    for id in ("ada", "bob"):
        await post(console, "/api/users", id=id, name=id, email=f"{id}@example.com", department="Sales")
    for id in ("ada", "bob"):
        await wait_for_state(console, id, "parked")
    (group,) = (await console.get("/api/errors?group=true"))["items"]
    assert (group["service"], group["error"], group["count"]) == ("authorizer", "Permanent", 2)
    services.start("authorizer")  # without errors

    assert await post(console, "/api/errors/rollback", ids=["bob"], by="ana") == {"count": 1, "dry_run": False}
    assert await post(console, "/api/errors/redrive", filter={"id": "ada"}, by="eve") == {"count": 1, "dry_run": False}
    assert (await post(console, "/api/errors/redrive", ids=["ada"], by="eve"))["count"] == 0
    await wait_for_state(console, "ada", "completed")
    await wait_for_state(console, "bob", "rolled-back")
    assert (await post(console, "/api/errors/redrive", ids=["ada", "bob"]))["count"] == 0
    assert (await post(console, "/api/errors/rollback", ids=["ada", "bob"]))["count"] == 0
    assert (await console.get("/api/errors"))["total"] == 0

    entries = await timeline(console, "ada")
    assert [line for line in entries if line[:2] == ("authorize", "redriven")] == [("authorize", "redriven", "eve")]
    assert [kind for step, kind, _ in entries if step == "authorize"] == [
        "requested",
        "parked",
        "redriven",
        "requested",
        "done",
    ]
    entries = await timeline(console, "bob")
    assert ("authorize", "cancelled", "ana") in entries
    assert entries[-1][1] == "rolled-back"
    assert (await console.get("/api/sagas/bob"))["reason"] == "cancelled by ana"


async def test_an_unreadable_record_is_listed_and_redriven_with_its_bytes(
    failing_authorizer: tuple[ConsoleClient, ServiceProcesses, str],
) -> None:
    console, _, bootstrap = failing_authorizer
    await write(bootstrap, [FakeRecord("notify", 1, 0, 0, b"k", b"\xff no message", [("from", b"a stranger")])])

    async def letters(count: int) -> list[dict[str, Any]]:
        async def expected_items() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = (await console.get("/api/errors"))["items"]
            return items if len(items) == count else []

        return await eventually(expected_items, 30, f"the console does not list {count} dead letters")

    (first,) = await letters(1)
    whole = await console.get("/api/errors/{topic}/{partition}/{offset}".format_map(first))
    assert (whole["value"], whole["value_base64"], whole["key"]) == (None, "/yBubyBtZXNzYWdl", "k")
    assert whole["headers"]["from"] == "a stranger"
    assert (await post(console, "/api/errors/redrive", filter={}, by="ana"))["count"] == 1

    async def new_letter() -> dict[str, Any] | None:
        items = (await console.get("/api/errors"))["items"]
        return items[0] if [item["name"] for item in items] not in ([], [first["name"]]) else None

    second = await eventually(new_letter, 30, "the redriven record did not become a new dead letter")
    assert second is not None
    redriven = await console.get("/api/errors/{topic}/{partition}/{offset}".format_map(second))
    assert (redriven["value_base64"], redriven["headers"]["redriven"]) == (whole["value_base64"], first["name"])
    assert (await post(console, "/api/errors/redrive", ids=[first["name"]]))["count"] == 0
    assert (await console.get("/api/errors"))["total"] == 1
