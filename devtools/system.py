"""A running `saga up` for tests: on ports of its own, listened to, and ended for certain."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from devtools.wait import free_ports

PORTS = ("console_port", "provisioner_port", "authorizer_port", "notifier_port", "embedded_port")


class Process:
    """A command whose output is kept line by line, and whose children we know."""

    def __init__(self, *command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")}
        self.lines: list[str] = []
        self._fresh: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            command,
            env=inherited | (env or {}),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._fresh.put(line.rstrip("\n"))
        self._fresh.put(None)

    def wait_for_line(self, part: str, within_s: float) -> str:
        """The next line that has this in it."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                line = self._fresh.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"{part!r} was not said within {within_s:g} s; instead:\n" + self.said())
            if part in line:
                return line

    def said(self) -> str:
        """The last of its output."""
        return "\n".join(self.lines[-80:])

    def children(self) -> list[psutil.Process]:
        """Its living descendants."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def child(self, word: str) -> psutil.Process:
        """The descendant that has this word in its command line."""
        for each in self.children():
            try:
                if word in each.cmdline():
                    return each
            except psutil.NoSuchProcess:  # it has just ended; a zombie is one, too
                continue
        raise AssertionError(f"no process of it has {word!r} in its command line")

    def stop(self, number: int = signal.SIGTERM, within_s: float = 12.0) -> float:
        """Signal it and wait for its end; answers how long that took (seconds)."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(within_s)
        return time.monotonic() - began

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        left = self.children()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for each in left:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                pass


class System(Process):
    """`saga up`. Settings by their names in lower case: `System(path, lag="0", deny_rate=1)`."""

    def __init__(self, data: Path, *arguments: str, **settings: Any) -> None:
        self.settings = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | {"datadir": data} | settings
        host = str(settings.get("bind", "127.0.0.1"))
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.settings['console_port']}"
        self.env = {f"SAGA_{name.upper()}": str(value) for name, value in self.settings.items()}
        super().__init__(sys.executable, "-m", "saga_app", "up", *arguments, env=self.env, cwd=data)

    @staticmethod
    def worker(service: str, beside: "System", **settings: Any) -> Process:
        """One more worker of a service, with the settings of a running system and some of its own."""
        env = beside.env | {f"SAGA_{name.upper()}": str(value) for name, value in settings.items()}
        return Process(sys.executable, "-m", "saga_app", "worker", service, env=env)

    def ready(self, within_s: float = 60.0) -> None:
        """Wait until a user can be onboarded."""
        self.wait_for_line(f"ready: {self.url}", within_s)

    def saga(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run another subcommand against it."""
        return saga(*arguments, env=self.env, input=input)


def saga(
    *arguments: str, env: dict[str, str] | None = None, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `saga` to its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")}
    return subprocess.run(
        [sys.executable, "-m", "saga_app", *arguments],
        env=inherited | (env or {}),
        input=input,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
