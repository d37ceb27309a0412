"""Reads docker-compose.yaml and runs its services as processes: their own commands, environments and health checks."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from devtools.system import Process
from devtools.wait import free_ports

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yaml"

PORTS = {"provisioner": 6066, "authorizer": 6067, "notifier": 6068, "console": 8080}

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def load(given: dict[str, str]) -> dict[str, Any]:
    """The file with its variables filled in: in the values, after parsing, as Compose does it."""
    loaded: dict[str, Any] = _filled(yaml.safe_load(FILE.read_text("utf-8")), given)
    return loaded


def _filled(value: Any, given: dict[str, str]) -> Any:
    match value:
        case str():
            return VARIABLE.sub(lambda found: given.get(found[1]) or found[2] or "", value)
        case list():
            return [_filled(each, given) for each in value]
        case dict():
            return {name: _filled(each, given) for name, each in value.items()}
    return value


class Rehearsal:
    """The services of the file on this machine: host names are loopback, ports and volumes are ours."""

    def __init__(self, data: Path, kafka_port: int, **given: str) -> None:
        self.services: dict[str, Any] = load(given)["services"]
        self.data, self.running = data, dict[str, Process]()
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | {"kafka": kafka_port}
        self.url = f"http://127.0.0.1:{self.ports['console']}"

    def start(self, service: str) -> None:
        """Its own command with its own environment."""
        declared = self.services[service]
        env = {name: self._here(service, str(value)) for name, value in declared["environment"].items()}
        env |= {f"SAGA_{name.upper()}_PORT": str(self.ports[name]) for name in PORTS}
        self.running[service] = Process(*declared["command"], env=env | self._path(), cwd=self.data)

    def healthy(self, service: str) -> bool:
        """Its own health check."""
        kind, *command = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        inside = {"kafka": 9092, **PORTS}[service]
        here = [re.sub(rf"\b{inside}\b", str(self.ports[service]), word) for word in command]
        done = subprocess.run(here, env=os.environ | self._path(), check=False, capture_output=True, timeout=10)
        return done.returncode == 0

    def saga(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line of this machine against the console."""
        command = [sys.executable, "-m", "saga_app", "--console", self.url, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    def end(self) -> None:
        """Stop all."""
        for process in self.running.values():
            process.process.terminate()
        for process in self.running.values():
            process.end()

    def _here(self, service: str, value: str) -> str:
        value = value.replace("kafka:9092", f"127.0.0.1:{self.ports['kafka']}").replace("0.0.0.0", "127.0.0.1", 1)
        # a container without a volume has a /data of its own, too
        return re.sub(r"^(sqlite:///)?/data", lambda found: f"{found[1] or ''}{self.data / service}", value)

    @staticmethod
    def _path() -> dict[str, str]:
        return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
