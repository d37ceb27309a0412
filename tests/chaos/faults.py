"""A schedule of faults that depends only on the seed, and the injector that carries it out."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import psutil

from devtools.real_kafka import RealKafka
from devtools.system import System
from tests.chaos.fault_log import FaultLog

Kind = Literal["kill", "term", "freeze", "broker-kill", "broker-stop"]

WORKERS = 2

#: Relative frequencies of the faults of workers, and of the services.
KINDS: dict[Kind, int] = {"kill": 4, "freeze": 3, "term": 3}
SERVICES = {"provisioner": 3, "authorizer": 3, "notifier": 3, "console": 1}

#: The shortest and longest pause between two faults (seconds).
PAUSE_S = (3.0, 9.0)
#: The shortest and longest freeze: shorter and longer than the session timeout of 10 s (seconds).
FREEZE_S = (5.0, 25.0)
#: The shortest and longest outage of the broker (seconds).
OUTAGE_S = (3.0, 12.0)


@dataclass(frozen=True)
class PlannedFault:
    """A fault of a worker, or of the broker if `service` is empty. Times are seconds from the start of the faults."""

    after_s: float
    kind: Kind
    service: str = ""
    worker: int = 0
    duration_s: float = 0.0

    @property
    def target(self) -> str:
        return f"{self.service}-{self.worker}" if self.worker else "broker"


def schedule(seed: int, fault_phase_s: float) -> list[PlannedFault]:
    """The faults of a run in order: faults of workers all the time, and one outage of the broker near the middle."""
    dice = random.Random(f"misfortunes {seed}")
    kind: Kind = dice.choice(("broker-kill", "broker-stop"))
    outage = PlannedFault(fault_phase_s * dice.uniform(0.4, 0.6), kind, duration_s=dice.uniform(*OUTAGE_S))
    return sorted([*_worker_faults(dice, fault_phase_s), outage], key=lambda fault: fault.after_s)


def _worker_faults(dice: random.Random, fault_phase_s: float) -> Iterator[PlannedFault]:
    after_s = dice.uniform(*PAUSE_S)
    while after_s < fault_phase_s:
        [kind] = dice.choices(list(KINDS), list(KINDS.values()))
        [service] = dice.choices(list(SERVICES), list(SERVICES.values()))
        worker = 1 if service == "console" else dice.randint(1, WORKERS)
        duration_s = min(dice.uniform(*FREEZE_S), fault_phase_s - after_s) if kind == "freeze" else 0.0
        yield PlannedFault(after_s, kind, service, worker, duration_s)
        after_s += dice.uniform(*PAUSE_S)


def process_of(system: System, service: str, worker: int) -> psutil.Process | None:
    """The process of a worker (numbered from 1) of a running `saga up`, or None if it is not alive."""
    port = str(system.settings[f"{service}_port"] + 100 * (worker - 1))
    for process in system.children():
        try:
            if f"agents:{service}" in process.cmdline() and process.environ()[f"SAGA_{service.upper()}_PORT"] == port:
                return process
        except (psutil.NoSuchProcess, psutil.AccessDenied, KeyError):  # it has just ended
            continue
    return None


class FaultInjector:
    """Injects planned faults from a thread. Each fault with a duration runs in a thread of its own."""

    def __init__(self, planned: Iterable[PlannedFault], system: System, broker: RealKafka, fault_log: FaultLog) -> None:
        self._planned, self._system, self._broker, self._log = list(planned), system, broker, fault_log
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self.failures: list[str] = []  #: faults that could not be injected

    def start(self) -> None:
        self._threads[0].start()

    def stop(self) -> None:
        """Inject no more faults, and end those that last; returns when no worker is frozen and the broker runs."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        for fault in self._planned:
            if self._stopping.wait(max(0.0, began + fault.after_s - time.monotonic())):
                return
            if not fault.duration_s:
                self._signal_worker(fault, signal.SIGKILL if fault.kind == "kill" else signal.SIGTERM)
                continue
            thread = threading.Thread(target=self._inject_lasting_fault, args=(fault,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _signal_worker(self, fault: PlannedFault, number: signal.Signals) -> None:
        process = process_of(self._system, fault.service, fault.worker)
        if process is not None:
            self._log.add(time.time(), fault.kind, fault.target)
            _send_signal(process, number)

    def _inject_lasting_fault(self, fault: PlannedFault) -> None:
        try:
            if fault.kind == "freeze":
                self._freeze_worker(fault)
            else:
                self._interrupt_broker(fault)
        except Exception as error:  # a run without its faults must not pass
            self.failures.append(f"{fault}: {error!r}")

    def _freeze_worker(self, fault: PlannedFault) -> None:
        process = process_of(self._system, fault.service, fault.worker)
        if process is None:
            return
        number = self._log.begin(time.time(), "freeze", fault.target)
        _send_signal(process, signal.SIGSTOP)
        self._stopping.wait(fault.duration_s)
        self._log.end(number, time.time())
        _send_signal(process, signal.SIGCONT)

    def _interrupt_broker(self, fault: PlannedFault) -> None:
        number = self._log.begin(time.time(), fault.kind, fault.target)
        if fault.kind == "broker-kill":
            self._broker.kill()
        else:
            self._broker.stop()
        self._stopping.wait(fault.duration_s)
        self._broker.start()
        self._log.end(number, time.time())


def _send_signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        if process.is_running():  # false if another process has the same id by now
            os.kill(process.pid, number)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass
