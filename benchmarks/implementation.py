"""An implementation of the chain of services: processes that run on a testbed while they are measured."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from benchmarks.process_usage import Usage, usage_of
from benchmarks.testbed import Testbed
from devtools.system import Process
from devtools.wait import until

ROOT = Path(__file__).parents[1]
SERVICES = ("provisioner", "authorizer", "notifier")

#: How long it may take until all workers have their partitions (seconds).
START_TIMEOUT_S = 60.0


class Implementation(ABC):
    """A chain of three services with `workers` processes each. As a context manager it runs them.

    `root`: the directory in which the processes run.
    """

    def __init__(self, testbed: Testbed, workers: int = 1, root: Path = ROOT) -> None:
        self.testbed, self.workers, self.root = testbed, workers, root
        self.processes: dict[str, Process] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_for_groups()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    @abstractmethod
    def start(self) -> None:
        """Start all processes; may return before they have joined their groups."""

    @abstractmethod
    def problem(self) -> str | None:
        """A fault found in the result of the trial, once all sagas have completed; None if there is none."""

    def run(self, name: str, *command: str, env: dict[str, str] | None = None) -> Process:
        """Start a process under a name."""
        process = self.processes[name] = Process(*command, env=env, cwd=self.root)
        return process

    def workers_to_start(self) -> Iterator[tuple[str, str, int]]:
        """Service, name of the process, and number of the worker (from 0), for each worker of each service."""
        for service in SERVICES:
            for worker in range(self.workers):
                yield service, service if worker == 0 else f"{service}-{worker + 1}", worker

    @property
    def service_processes(self) -> list[str]:
        """The names of the processes whose cost is compared: the workers of the three services."""
        return [name for _, name, _ in self.workers_to_start()]

    def usage(self) -> Usage:
        """What all processes and the broker have used so far."""
        pids = {name: process.process.pid for name, process in self.processes.items()}
        return usage_of(pids | {"broker": self.testbed.broker_pid})

    def wait_for_groups(self) -> None:
        """Wait until every worker is a member of its consumer group and no rebalance is in progress."""
        admin = AdminClient({"bootstrap.servers": self.testbed.bootstrap, "log_level": 0})

        def all_stable() -> bool:
            self.raise_if_ended()
            return all(_is_stable(admin, service, self.workers) for service in SERVICES)

        until(all_stable, START_TIMEOUT_S, "not all workers have joined their consumer groups", 0.2)

    def raise_if_ended(self) -> None:
        """Raise RuntimeError if a process has exited."""
        for name, process in self.processes.items():
            if process.process.poll() is not None:
                raise RuntimeError(f"{name} exited with {process.process.returncode}:\n{process.output_tail()}")

    def kill(self) -> None:
        """Kill all processes: a graceful shutdown is not measured."""
        for process in self.processes.values():
            process.process.kill()
        for process in self.processes.values():
            process.end()


def _is_stable(admin: AdminClient, group: str, members: int) -> bool:
    try:
        description = admin.describe_consumer_groups([group], request_timeout=10)[group].result()
    except KafkaException:
        return False
    return description.state == ConsumerGroupState.STABLE and len(description.members) == members
