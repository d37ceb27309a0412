"""Run the services of docker-compose.yaml as processes, with the commands, environments and checks declared there."""

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


def load(variables: dict[str, str]) -> dict[str, Any]:
    """The parsed file. Like Compose, substitutes variables in values only, after parsing."""
    loaded: dict[str, Any] = _substitute(yaml.safe_load(FILE.read_text("utf-8")), variables)
    return loaded


def _substitute(value: Any, variables: dict[str, str]) -> Any:
    match value:
        case str():
            return VARIABLE.sub(lambda match: variables.get(match[1]) or match[2] or "", value)
        case list():
            return [_substitute(each, variables) for each in value]
        case dict():
            return {name: _substitute(each, variables) for name, each in value.items()}
    return value


class ComposeProcesses:
    """The services of the file as processes: host names become loopback, ports and volumes belong to the test."""

    def __init__(self, data: Path, kafka_port: int, **variables: str) -> None:
        self.services: dict[str, Any] = load(variables)["services"]
        self.data, self.running = data, dict[str, Process]()
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | {"kafka": kafka_port}
        self.url = f"http://127.0.0.1:{self.ports['console']}"

    def start(self, service: str) -> None:
        """Start the command of a service with its environment."""
        declared = self.services[service]
        env = {name: self._localize(service, str(value)) for name, value in declared["environment"].items()}
        env |= {f"SAGA_{name.upper()}_PORT": str(self.ports[name]) for name in PORTS}
        self.running[service] = Process(*declared["command"], env=env | self._path(), cwd=self.data)

    def healthy(self, service: str) -> bool:
        """Run the health check of a service."""
        kind, *command = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        port = {"kafka": 9092, **PORTS}[service]
        localized = [re.sub(rf"\b{port}\b", str(self.ports[service]), word) for word in command]
        done = subprocess.run(localized, env=os.environ | self._path(), check=False, capture_output=True, timeout=10)
        return done.returncode == 0

    def saga(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `saga` against the console."""
        command = [sys.executable, "-m", "saga_app", "--console", self.url, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    def end(self) -> None:
        """Stop all services."""
        for process in self.running.values():
            process.process.terminate()
        for process in self.running.values():
            process.end()

    def _localize(self, service: str, value: str) -> str:
        value = value.replace("kafka:9092", f"127.0.0.1:{self.ports['kafka']}").replace("0.0.0.0", "127.0.0.1", 1)
        # A container without a volume has its own /data, too.
        return re.sub(r"^(sqlite:///)?/data", lambda match: f"{match[1] or ''}{self.data / service}", value)

    @staticmethod
    def _path() -> dict[str, str]:
        return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
