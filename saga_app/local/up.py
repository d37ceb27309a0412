"""Runs all services under one supervisor, with or without the embedded broker (`saga up`)."""

import asyncio
import os
import re
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from saga_app import environment
from saga_app import settings as settings_
from saga_app.active_plan import SERVICES
from saga_app.addresses import local_url
from saga_app.environment import WrongEnvironment
from saga_app.local.broker import Broker, BrokerFailed
from saga_app.local.child_process import Service
from saga_app.local.console_output import ConsoleOutput
from saga_app.local.supervisor import Supervisor
from saga_app.service import policy
from saga_app.service.kafka.topics import TOPICS
from saga_app.settings import Settings

#: Difference between the ports of consecutive workers of a service.
WORKER_PORT_STEP = 100


def up(
    settings: Settings, *, embedded: bool, workers: int = 1, users: Callable[[str], Awaitable[str]] | None = None
) -> int:
    """Run all services until a signal arrives; returns the exit code.

    `workers`: of each service. `users`: called with the URL of the console when all services are ready, to onboard
    users; returns a status line.
    """
    policy.load(settings.policy)  # fails here once instead of in each service
    try:
        environment.check_packages()
        environment.use_directory(settings_.variable("datadir"), settings.datadir)
        environment.check_ports(_ports(settings, embedded, workers))
        return asyncio.run(_run(settings, embedded, workers, users))
    except (WrongEnvironment, BrokerFailed) as error:
        print(error, file=sys.stderr)
        return 1


async def _run(settings: Settings, embedded: bool, workers: int, users: Callable[[str], Awaitable[str]] | None) -> int:
    """Start all services and wait for their end; returns the exit code."""
    services = _services(settings, embedded, workers)
    output = ConsoleOutput(service.name for service in services)
    url = local_url(settings.bind, settings.console_port)

    async def ready() -> None:
        output.plain(f"ready: {url}")
        if users is not None:
            output.status(await users(url))

    data = _datadir(settings, embedded)
    if embedded:
        output.status("the embedded broker keeps all data in memory: they are lost when it stops")
    else:
        output.status(f"using the Kafka at {settings.broker}")
    broker = partial(_embedded_broker, settings, data) if embedded else None
    supervisor = Supervisor(services, output, broker=broker, ready=ready)
    try:
        await supervisor.run()
    finally:
        if embedded:
            shutil.rmtree(data, ignore_errors=True)
    output.status("stopped")
    if supervisor.environment_error is None:
        return 0
    print(supervisor.environment_error, file=sys.stderr)
    return environment.WRONG_ENVIRONMENT


def _embedded_broker(settings: Settings, data: Path) -> Broker:
    """Start a new broker; deletes data on disk that belong to an earlier one."""
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    return Broker(port=settings.embedded_port, topics=dict.fromkeys(TOPICS, settings.partitions))


def _ports(settings: Settings, embedded: bool, workers: int) -> dict[str, tuple[str, int]]:
    """All listening addresses (host, port) by the variable that sets the port."""
    wanted = {}
    for name, worker in _workers(workers):
        variable = settings_.variable(settings_.port_field(name))
        label = variable if worker == 1 else f"{variable} (worker {worker})"
        wanted[label] = settings.bind, _port(settings, name, worker)
    if embedded:
        wanted[settings_.variable("embedded_port")] = "127.0.0.1", settings.embedded_port
    return wanted


def _workers(count: int) -> list[tuple[str, int]]:
    """Name and worker number of each process. There is one console, because each console reads all topics."""
    steps = [(name, worker) for name in SERVICES for worker in range(1, count + 1)]
    return [*steps, ("console", 1)]


def _port(settings: Settings, name: str, worker: int) -> int:
    return settings.port(name) + WORKER_PORT_STEP * (worker - 1)


def _services(settings: Settings, embedded: bool, workers: int) -> list[Service]:
    return [_service(settings, embedded, name, worker) for name, worker in _workers(workers)]


def _service(settings: Settings, embedded: bool, name: str, worker: int) -> Service:
    port = _port(settings, name, worker)
    label = name if worker == 1 else f"{name}-{worker}"
    broker = f"kafka://127.0.0.1:{settings.embedded_port}" if embedded else settings.broker
    changed = {
        "SAGA_BROKER": broker,
        "SAGA_EMBEDDED": str(int(embedded)),
        "SAGA_DATADIR": str(_datadir(settings, embedded) / (label if embedded else "")),
        "SAGA_LOG": os.environ.get("SAGA_LOG") or "console",
        "SAGA_INSTANCE": "" if embedded else _instance(settings, worker),
        settings_.variable(settings_.port_field(name)): str(port),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",  # encoding of the pipe; this process encodes for the terminal
    }
    if embedded:
        changed |= {"SAGA_STORE": "memory://", "SAGA_INDEX": ""}
    command = (sys.executable, "-m", "faust", "-L", "uvloop", "-A", f"agents:{name}", "worker")
    return Service(label, command, _without_unknown_settings(os.environ) | changed, local_url(settings.bind, port))


def _instance(settings: Settings, worker: int) -> str:
    """The static group member name of a worker. It stays the same across restarts, which avoids a rebalance, and
    differs from those of another `saga up` on the same Kafka.
    """
    name = settings.instance or f"{socket.gethostname()}-{settings.console_port}"
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:90] + f"-{worker}"


def _without_unknown_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without unknown SAGA_ variables, which this process has already reported."""
    known = {settings_.variable(name) for name in Settings.model_fields}
    return {k: v for k, v in environment.items() if not k.upper().startswith(settings_.PREFIX) or k.upper() in known}


def _datadir(settings: Settings, embedded: bool) -> Path:
    """The data directory. The embedded broker has its own, because its tables and index must not outlive it."""
    datadir = settings.datadir.absolute()
    return datadir / f"embedded-{settings.embedded_port}" if embedded else datadir
