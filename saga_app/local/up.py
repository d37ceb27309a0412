"""`saga up`: every service under one supervisor, by default on the embedded broker."""

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
from saga_app.local.console_output import Voice
from saga_app.local.supervisor import Supervisor
from saga_app.service import policy
from saga_app.service.kafka.topics import TOPICS
from saga_app.settings import Settings

#: The second worker of a service listens this many ports further on, and so forth.
NEXT_WORKER = 100


def up(
    settings: Settings, *, embedded: bool, workers: int = 1, users: Callable[[str], Awaitable[str]] | None = None
) -> int:
    """Run until a signal comes; the exit code.

    users: called with the console's URL when all is ready, to onboard some; answers what to say.
    """
    policy.load(settings.policy)  # a wrong one ends us here, and not each service in turn
    try:
        environment.check_packages()
        environment.use_directory(settings_.variable("datadir"), settings.datadir)
        environment.check_ports(_ports(settings, embedded, workers))
        return asyncio.run(_run(settings, embedded, workers, users))
    except (WrongEnvironment, BrokerFailed) as error:
        print(error, file=sys.stderr)
        return 1


async def _run(settings: Settings, embedded: bool, workers: int, users: Callable[[str], Awaitable[str]] | None) -> int:
    """Start everything and wait for its end; the exit code."""
    services = _services(settings, embedded, workers)
    voice = Voice(service.name for service in services)
    url = local_url(settings.bind, settings.console_port)

    async def ready() -> None:
        voice.plain(f"ready: {url}")
        if users is not None:
            voice.say(await users(url))

    data = _datadir(settings, embedded)
    if embedded:
        voice.say("the embedded broker keeps everything in memory: when this ends, or it crashes, all is gone")
    else:
        voice.say(f"using the Kafka at {settings.broker}")
    broker = partial(_embedded_broker, settings, data) if embedded else None
    supervisor = Supervisor(services, voice, broker=broker, ready=ready)
    try:
        await supervisor.run()
    finally:
        if embedded:
            shutil.rmtree(data, ignore_errors=True)
    voice.say("stopped")
    if supervisor.wrong is None:
        return 0
    print(supervisor.wrong, file=sys.stderr)
    return environment.WRONG_ENVIRONMENT


def _embedded_broker(settings: Settings, data: Path) -> Broker:
    """A new one, and nothing on disk that an earlier one may have left behind."""
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    return Broker(port=settings.embedded_port, topics=dict.fromkeys(TOPICS, settings.partitions))


def _ports(settings: Settings, embedded: bool, workers: int) -> dict[str, tuple[str, int]]:
    """Each address that we listen on, by the variable that sets its port."""
    wanted = {}
    for name, worker in _workers(workers):
        variable = settings_.variable(settings_.port_field(name))
        label = variable if worker == 1 else f"{variable} (worker {worker})"
        wanted[label] = settings.bind, _port(settings, name, worker)
    if embedded:
        wanted[settings_.variable("embedded_port")] = "127.0.0.1", settings.embedded_port
    return wanted


def _workers(count: int) -> list[tuple[str, int]]:
    """Every service process by name and number. One console is enough: it reads everything anyway."""
    steps = [(name, worker) for name in SERVICES for worker in range(1, count + 1)]
    return [*steps, ("console", 1)]


def _port(settings: Settings, name: str, worker: int) -> int:
    return settings.port(name) + NEXT_WORKER * (worker - 1)


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
        "PYTHONIOENCODING": "utf-8",  # of the pipe to us: we encode for the terminal
    }
    if embedded:
        changed |= {"SAGA_STORE": "memory://", "SAGA_INDEX": ""}
    command = (sys.executable, "-m", "faust", "-L", "uvloop", "-A", f"agents:{name}", "worker")
    return Service(label, command, _without_unknown(os.environ) | changed, local_url(settings.bind, port))


def _instance(settings: Settings, worker: int) -> str:
    """The same name after a restart, so that Kafka gives a worker its partitions back at once; unlike that of any
    other `saga up` on the same Kafka."""
    name = settings.instance or f"{socket.gethostname()}-{settings.console_port}"
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:90] + f"-{worker}"


def _without_unknown(environment: Mapping[str, str]) -> dict[str, str]:
    """We have warned of them already."""
    known = {settings_.variable(name) for name in Settings.model_fields}
    return {k: v for k, v in environment.items() if not k.upper().startswith(settings_.PREFIX) or k.upper() in known}


def _datadir(settings: Settings, embedded: bool) -> Path:
    """With the embedded broker one of its own, which ends with it: an index or a table must not outlive its Kafka."""
    datadir = settings.datadir.absolute()
    return datadir / f"embedded-{settings.embedded_port}" if embedded else datadir
