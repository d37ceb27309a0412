"""Runs the commands that the documentation shows, on unused ports and in a temporary folder."""

import os
import subprocess
from pathlib import Path

from devtools.system import PORTS, Process
from devtools.wait import free_ports
from tests.documented import ROOT


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Variables for the commands: unused ports, data in `folder`, and the programs of the virtual environment."""
    ports = {f"SAGA_{name.upper()}": str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    return {**ports, "SAGA_DATADIR": str(folder / "data"), "PATH": path, **settings}


def start(line: str, environment: dict[str, str]) -> Process:
    """Run a command that does not end by itself, such as `saga up`."""
    program, _, _ = line.partition(" ")
    return Process("bash", "-c", line if "=" in program else f"exec {line}", env=environment, cwd=ROOT)


def run(line: str, environment: dict[str, str], cwd: Path = ROOT, timeout_s: float = 90.0) -> str:
    """Run a command, which must succeed; returns its output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")} | environment
    done = subprocess.run(
        ["bash", "-c", line], env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout
