"""Services as processes on an embedded broker, and requests to the console about their sagas."""

import signal
import sys
from pathlib import Path
from typing import Any

from devtools.system import Process
from devtools.wait import eventually, free_port
from tests.console_server import ConsoleClient
from tests.fakes.topics import PARTITIONS


class ServiceProcesses:
    """Workers of the services, one each. A worker can be replaced by one with other settings or another app."""

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
        """Start the worker of a service, after stopping the running one.

        `module` is the module of the Faust app, by default the one in `agents`. `settings` are environment variables.
        """
        if name in self.running:
            self.running.pop(name).end()
        port = {f"SAGA_{name.upper()}_PORT": str(free_port())}
        command = (sys.executable, "-m", "faust", "-A", module or f"agents.{name}", "worker", "-l", "warn")
        self.running[name] = Process(*command, env=self.env | port | settings)

    def end(self) -> None:
        """Stop all workers at the same time."""
        for process in self.running.values():
            process.process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.end()


async def post(console: ConsoleClient, path: str, **body: Any) -> Any:
    """POST `body` as JSON; return the body of the response, whose status must be 200 or 202."""
    async with console.client.post(path, json=body) as answer:
        assert answer.status in (200, 202), await answer.text()
        return await answer.json()


async def wait_for_state(console: ConsoleClient, id: str, state: str) -> None:
    """Wait until the console shows the saga in this state."""

    async def has_state() -> bool:
        return bool((await console.get(f"/api/sagas/{id}"))["state"] == state)

    await eventually(has_state, 30, f"{id} is not {state}")
