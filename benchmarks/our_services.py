"""This project's services as processes: each is started with `faust -A agents.<name> worker`."""

import sys
import threading
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from benchmarks.implementation import ROOT, START_TIMEOUT_S, Implementation
from benchmarks.testbed import Testbed
from devtools.audit_command import audit
from devtools.wait import free_ports, until

CONSOLE = "console"


class OurServices(Implementation):
    """The three services, by default with the console attached and one open page.

    console: also run the console
    trace: whether the open page has its trace "on" or "off"
    audited: run `saga audit` at the end
    root, python: the checkout that is run, and its Python interpreter
    settings: settings of the services, by their names in lower case
    """

    def __init__(
        self,
        testbed: Testbed,
        workers: int = 1,
        console: bool = True,
        trace: str = "off",
        audited: bool = True,
        root: Path = ROOT,
        python: str = sys.executable,
        **settings: Any,
    ) -> None:
        super().__init__(testbed, workers, root)
        self.python = python
        self.console, self.trace, self.audited = console, trace, audited
        self.settings = {"lag": 0, "store": "rocksdb://", "log": "json", **settings}
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        """Start all processes, wait until they are ready, and open the page."""
        for service, name, worker in self.workers_to_start():
            self.launch(service, name, worker)
        if self.console:
            self.launch(CONSOLE, CONSOLE, 0)
        for name in self.processes:
            self.wait_until_ready(name)
        if self.console:
            self.page = StreamClient(self.ports[CONSOLE], self.trace)

    def launch(self, service: str, name: str, worker: int) -> None:
        """Start one process. A process that is started again under the same name gets the same port."""
        port = self.ports.setdefault(name, free_ports(1)[0])
        settings = self.settings | {
            "broker": f"kafka://{self.testbed.bootstrap}",
            "datadir": self.testbed.directory / "data",
            "instance": f"bench-{worker}",
            f"{service}_port": port,
        }
        env = {f"SAGA_{key.upper()}": str(value) for key, value in settings.items()}
        command = ("-m", "faust", "-L", "uvloop", "-l", "info", "-A", f"agents.{service}", "worker")
        self.run(name, self.python, *command, env=env)

    def wait_until_ready(self, name: str, within_s: float = START_TIMEOUT_S, every_s: float = 0.1) -> None:
        """Poll `/health/ready` of a process until it succeeds. Raises RuntimeError if a process exits."""

        def is_ready() -> bool:
            self.raise_if_ended()
            return self.answers(name, "/health/ready")

        until(is_ready, within_s, f"{name} is not ready", every_s)

    def answers(self, name: str, path: str) -> bool:
        """Whether a GET of this path returns status 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def problem(self) -> str | None:
        """The findings of `saga audit`, if any."""
        if not self.audited:
            return None
        result = audit(self.testbed.bootstrap)
        return None if result.clean else f"saga audit: {result}: {result.output[-500:]}"


class StreamClient:
    """Stands in for an open page at little cost: it reads the console's event stream and discards it."""

    def __init__(self, port: int, trace: str) -> None:
        self.url = f"http://127.0.0.1:{port}/api/stream?trace={trace}"
        self.received_bytes = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Disconnect after the next event; the console sends one at least every second."""
        self._closed.set()
        self._thread.join(5)

    def _read(self) -> None:
        try:
            with urllib.request.urlopen(self.url, timeout=60) as stream:
                while not self._closed.is_set() and (chunk := stream.read1(1 << 20)):
                    self.received_bytes += len(chunk)
        except (OSError, HTTPException):  # the console has exited
            return
