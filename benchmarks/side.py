"""Who is measured: processes that are started on a stage, and ended for certain."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from benchmarks.meter import Used, look
from benchmarks.stage import Stage
from devtools.system import Process
from devtools.wait import until

ROOT = Path(__file__).parents[1]
SERVICES = ("provisioner", "authorizer", "notifier")

#: How long a side may take until all its workers have their partitions (seconds).
START_S = 60.0


class Side(ABC):
    """A chain of services, some workers of each."""

    def __init__(self, stage: Stage, workers: int = 1) -> None:
        self.stage, self.workers = stage, workers
        self.processes: dict[str, Process] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_for_groups()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    @abstractmethod
    def start(self) -> None:
        """Start all; returns when they say that they are ready."""

    @abstractmethod
    def problem(self) -> str | None:
        """What must be held against this run, once it is over."""

    def run(self, name: str, *command: str, env: dict[str, str] | None = None) -> Process:
        """Start a process under a name."""
        process = self.processes[name] = Process(*command, env=env, cwd=ROOT)
        return process

    def names(self) -> Iterator[tuple[str, str, int]]:
        """Service, name of the process, number of the worker from 0."""
        for service in SERVICES:
            for worker in range(self.workers):
                yield service, service if worker == 0 else f"{service}-{worker + 1}", worker

    @property
    def counted(self) -> list[str]:
        """The processes whose cost counts: those of the three services."""
        return [name for _, name, _ in self.names()]

    def used(self) -> Used:
        """What the processes and the broker have used up to now."""
        pids = {name: process.process.pid for name, process in self.processes.items()}
        return look(pids | {"broker": self.stage.broker_pid})

    def wait_for_groups(self) -> None:
        """Until every worker is a member of its group, and has its partitions."""
        admin = AdminClient({"bootstrap.servers": self.stage.bootstrap, "log_level": 0})

        def stable() -> bool:
            self.dead()
            return all(_stable(admin, service, self.workers) for service in SERVICES)

        until(stable, START_S, "not all workers have joined their groups", 0.2)

    def dead(self) -> None:
        """Raises when one of them has ended by itself."""
        for name, process in self.processes.items():
            if process.process.poll() is not None:
                raise RuntimeError(f"{name} has ended with {process.process.returncode}:\n{process.said()}")

    def end(self) -> None:
        """Kill them: what they have to say at a stop is no part of it."""
        for process in self.processes.values():
            process.process.kill()
        for process in self.processes.values():
            process.end()


def _stable(admin: AdminClient, group: str, members: int) -> bool:
    try:
        found = admin.describe_consumer_groups([group], request_timeout=10)[group].result()
    except KafkaException:
        return False
    return found.state == ConsumerGroupState.STABLE and len(found.members) == members
