"""Processes for tests and benchmarks: `saga up`, single workers, and commands, with captured output and clean-up."""

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

#: How long a process may take to exit after SIGTERM (seconds).
STOP_TIMEOUT_S = 12.0

#: Lines of output that a failure message includes.
TAIL_LINES = 80


class Process:
    """A running command. It does not inherit SAGA_ variables; its output is collected line by line in `lines`."""

    def __init__(self, *command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")}
        self.lines: list[str] = []
        self._unread: queue.Queue[str | None] = queue.Queue()
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
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._unread.put(line.rstrip("\n"))
        self._unread.put(None)

    def wait_for_line(self, part: str, within_s: float) -> str:
        """The next line of output that contains `part`.

        Each call continues after the line that the previous one returned. Raises AssertionError if the process exits or
        prints no such line in time.
        """
        deadline = time.monotonic() + within_s
        while True:
            try:
                line = self._unread.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no output with {part!r} within {within_s:g} s:\n{self.output_tail()}")
            if part in line:
                return line

    def output_tail(self) -> str:
        """The last lines of the output."""
        return "\n".join(self.lines[-TAIL_LINES:])

    def children(self) -> list[psutil.Process]:
        """The running descendants of the process."""
        try:
            descendants: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return descendants

    def child(self, word: str) -> psutil.Process:
        """The descendant with this word in its command line. Raises AssertionError if there is none."""
        for each in self.children():
            try:
                if word in each.cmdline():
                    return each
            except psutil.NoSuchProcess:  # it has just exited, or is a zombie
                continue
        raise AssertionError(f"no child process has {word!r} in its command line")

    def stop(self, number: int = signal.SIGTERM, within_s: float = STOP_TIMEOUT_S) -> float:
        """Send a signal and wait until the process exits. Returns how long that took (seconds)."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(within_s)
        return time.monotonic() - began

    def end(self) -> None:
        """Stop the process if it runs, and kill all descendants that remain."""
        remaining = self.children()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for each in remaining:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                pass


class System(Process):
    """A running `saga up` on ports of its own. `url` is the address of its console.

    data: the data directory
    arguments: further arguments of `saga up`
    settings: by their names in lower case, as in `System(path, lag="0", deny_rate=1)`
    """

    def __init__(self, data: Path, *arguments: str, **settings: Any) -> None:
        self.settings = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | {"datadir": data} | settings
        host = str(settings.get("bind", "127.0.0.1"))
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.settings['console_port']}"
        self.env = {f"SAGA_{name.upper()}": str(value) for name, value in self.settings.items()}
        super().__init__(sys.executable, "-m", "saga_app", "up", *arguments, env=self.env, cwd=data)

    @staticmethod
    def worker(service: str, beside: "System", **settings: Any) -> Process:
        """Start another worker of a service, with the settings of the running system `beside` and those given here."""
        env = beside.env | {f"SAGA_{name.upper()}": str(value) for name, value in settings.items()}
        return Process(sys.executable, "-m", "saga_app", "worker", service, env=env)

    def ready(self, within_s: float = 60.0) -> None:
        """Wait until the system reports that it is ready."""
        self.wait_for_line(f"ready: {self.url}", within_s)

    def saga(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a `saga` command with the settings of this system."""
        return saga(*arguments, env=self.env, input=input)


def saga(
    *arguments: str, env: dict[str, str] | None = None, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a `saga` command to its end, for at most 60 s. It inherits no SAGA_ variables."""
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
