"""Our services as processes, each as `faust -A agents.<name> worker`: the console attached, everything on."""

import sys
import threading
import urllib.request
from http.client import HTTPException
from typing import Any

from benchmarks.side import START_S, Side
from benchmarks.stage import Stage
from devtools.audit_command import audit
from devtools.wait import free_ports, until

CONSOLE = "console"


class Ours(Side):
    """`settings` by their names in lower case. `page`: a page is open there, with its trace on or off."""

    def __init__(
        self,
        stage: Stage,
        workers: int = 1,
        console: bool = True,
        page: str = "off",
        audited: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(stage, workers)
        self.console, self.page, self.audited = console, page, audited
        self.settings = {"lag": 0, "store": "rocksdb://", "log": "json", **settings}
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        """Returns when all are ready, and the page is open."""
        for service, name, worker in self.names():
            self.launch(service, name, worker)
        if self.console:
            self.launch(CONSOLE, CONSOLE, 0)
        for name in self.processes:
            self.wait_until_ready(name)
        if self.console:
            self.page_open = Page(self.ports[CONSOLE], self.page)

    def launch(self, service: str, name: str, worker: int) -> None:
        """Start one of them; again under the same port, if it has been there before."""
        port = self.ports.setdefault(name, free_ports(1)[0])
        settings = self.settings | {
            "broker": f"kafka://{self.stage.bootstrap}",
            "datadir": self.stage.directory / "data",
            "instance": f"bench-{worker}",
            f"{service}_port": port,
        }
        env = {f"SAGA_{key.upper()}": str(value) for key, value in settings.items()}
        command = ("-m", "faust", "-L", "uvloop", "-l", "info", "-A", f"agents.{service}", "worker")
        self.run(name, sys.executable, *command, env=env)

    def wait_until_ready(self, name: str, within_s: float = START_S, every_s: float = 0.1) -> None:
        """By `/health/ready`."""

        def ready() -> bool:
            self.dead()
            return self.answers(name, "/health/ready")

        until(ready, within_s, f"{name} is not ready", every_s)

    def answers(self, name: str, path: str) -> bool:
        """Whether it answers 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def problem(self) -> str | None:
        """What `saga audit` finds: a fast run that lost something counts as zero."""
        if not self.audited:
            return None
        found = audit(self.stage.bootstrap)
        return None if found.clean else f"saga audit: {found}: {found.said[-500:]}"


class Page:
    """A browser's part as cheap as can be: it takes what the stream says and forgets it."""

    def __init__(self, port: int, trace: str) -> None:
        self.url = f"http://127.0.0.1:{port}/api/stream?trace={trace}"
        self.bytes = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """At the next word, which comes within a second."""
        self._closed.set()
        self._thread.join(5)

    def _listen(self) -> None:
        try:
            with urllib.request.urlopen(self.url, timeout=60) as stream:
                while not self._closed.is_set() and (chunk := stream.read1(1 << 20)):
                    self.bytes += len(chunk)
        except (OSError, HTTPException):  # the console has ended
            return
