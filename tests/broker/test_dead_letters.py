"""An operator and the services, on the embedded broker: what is redriven goes on, what is rolled back goes back."""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from devtools.system import Process
from devtools.wait import eventually, free_port
from saga_app.local.broker import Broker
from saga_app.service.kafka.topics import TOPICS
from tests.console_server import ConsoleClient, running, write
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS


class Services:
    """The three of them as processes of their own; one can be replaced by another release of it."""

    def __init__(self, bootstrap: str, data: Path) -> None:
        self.running: dict[str, Process] = {}
        self.env = {
            "SAGA_BROKER": f"kafka://{bootstrap}",
            "SAGA_EMBEDDED": "1",
            "SAGA_PARTITIONS": str(PARTITIONS),
            "SAGA_DATADIR": str(data),
            "SAGA_STORE": "memory://",
            "SAGA_LAG": "0",
        }

    def start(self, name: str, module: str | None = None, **settings: str) -> None:
        """Instead of the one that runs; `module` has its app, if it is not the one in `agents`."""
        if name in self.running:
            self.running.pop(name).end()
        port = {f"SAGA_{name.upper()}_PORT": str(free_port())}
        command = (sys.executable, "-m", "faust", "-A", module or f"agents.{name}", "worker", "-l", "warn")
        self.running[name] = Process(*command, env=self.env | port | settings)

    def end(self) -> None:
        """All of them, at the same time."""
        for process in self.running.values():
            process.process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.end()


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[tuple[ConsoleClient, Services, str]]:
    """A console, and services of which the Authorizer fails for good."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Broker(topics=dict.fromkeys(TOPICS, PARTITIONS)))
        services = Services(broker.bootstrap, tmp_path)
        stack.callback(services.end)
        services.start("provisioner")
        services.start("authorizer", SAGA_ERROR_RATE="1")
        services.start("notifier")
        visitor = await stack.enter_async_context(running(broker.bootstrap))
        yield await visitor.ready(), services, broker.bootstrap


async def post(console: ConsoleClient, path: str, **body: Any) -> Any:
    """A good answer."""
    async with console.client.post(path, json=body) as answer:
        assert answer.status in (200, 202), await answer.text()
        return await answer.json()


async def becomes(console: ConsoleClient, id: str, state: str) -> None:
    """Wait until a saga has come to this."""

    async def has() -> bool:
        return bool((await console.get(f"/api/sagas/{id}"))["state"] == state)

    await eventually(has, 30, f"{id} is {state}")


async def story(console: ConsoleClient, id: str) -> list[tuple[str, str, str | None]]:
    """What a saga's timeline tells: step, kind and by whom."""
    entries = (await console.get(f"/api/sagas/{id}/trace"))["entries"]
    return [(entry["step"], entry["kind"], entry["data"].get("by")) for entry in entries]


async def test_a_parked_saga_is_redriven_and_completes_another_is_rolled_back_and_both_timelines_say_by_whom(
    console: tuple[ConsoleClient, Services, str],
) -> None:
    desk, services, _ = console
    for id in ("ada", "bob"):
        await post(desk, "/api/users", id=id, name=id, email=f"{id}@example.com", department="Sales")
    for id in ("ada", "bob"):
        await becomes(desk, id, "parked")
    (kind,) = (await desk.get("/api/errors?group=true"))["items"]
    assert (kind["service"], kind["error"], kind["count"]) == ("authorizer", "Permanent", 2)
    services.start("authorizer")  # it has been mended

    assert await post(desk, "/api/errors/rollback", ids=["bob"], by="ana") == {"count": 1, "dry_run": False}
    assert await post(desk, "/api/errors/redrive", filter={"id": "ada"}, by="eve") == {"count": 1, "dry_run": False}
    assert (await post(desk, "/api/errors/redrive", ids=["ada"], by="eve"))["count"] == 0
    await becomes(desk, "ada", "completed")
    await becomes(desk, "bob", "rolled-back")
    assert (await post(desk, "/api/errors/redrive", ids=["ada", "bob"]))["count"] == 0
    assert (await post(desk, "/api/errors/rollback", ids=["ada", "bob"]))["count"] == 0
    assert (await desk.get("/api/errors"))["total"] == 0

    told = await story(desk, "ada")
    assert [line for line in told if line[:2] == ("authorize", "redriven")] == [("authorize", "redriven", "eve")]
    assert [kind for step, kind, _ in told if step == "authorize"] == [
        "requested",
        "parked",
        "redriven",
        "requested",
        "done",
    ]
    told = await story(desk, "bob")
    assert ("authorize", "cancelled", "ana") in told
    assert told[-1][1] == "rolled-back"
    assert (await desk.get("/api/sagas/bob"))["reason"] == "cancelled by ana"


async def test_what_nobody_can_read_is_listed_with_its_bytes_and_redriven_as_it_was_once(
    console: tuple[ConsoleClient, Services, str],
) -> None:
    desk, _, bootstrap = console
    await write(bootstrap, [FakeRecord("notify", 1, 0, 0, b"k", b"\xff no message", [("from", b"a stranger")])])

    async def letters(count: int) -> list[dict[str, Any]]:
        async def are_there() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = (await desk.get("/api/errors"))["items"]
            return items if len(items) == count else []

        return await eventually(are_there, 30, f"{count} dead letters")

    (first,) = await letters(1)
    whole = await desk.get("/api/errors/{topic}/{partition}/{offset}".format_map(first))
    assert (whole["value"], whole["value_base64"], whole["key"]) == (None, "/yBubyBtZXNzYWdl", "k")
    assert whole["headers"]["from"] == "a stranger"
    assert (await post(desk, "/api/errors/redrive", filter={}, by="ana"))["count"] == 1

    async def is_another() -> dict[str, Any] | None:
        items = (await desk.get("/api/errors"))["items"]
        return items[0] if [item["name"] for item in items] not in ([], [first["name"]]) else None

    second = await eventually(is_another, 30, "it has failed again, and is another dead letter")
    assert second is not None
    again = await desk.get("/api/errors/{topic}/{partition}/{offset}".format_map(second))
    assert (again["value_base64"], again["headers"]["redriven"]) == (whole["value_base64"], first["name"])
    assert (await post(desk, "/api/errors/redrive", ids=[first["name"]]))["count"] == 0
    assert (await desk.get("/api/errors"))["total"] == 1
