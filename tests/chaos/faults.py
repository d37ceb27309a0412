"""The schedule of misfortunes, from a seed alone; and the hand that deals them, to our own processes only."""

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

#: How often each: the workers of the services far more than the console, of which there is one.
KINDS: dict[Kind, int] = {"kill": 4, "freeze": 3, "term": 3}
SERVICES = {"provisioner": 3, "authorizer": 3, "notifier": 3, "console": 1}

#: Between two misfortunes, from-to; how long a freeze lasts: shorter and longer than a session (10 s) (seconds).
PAUSE_S, FREEZE_S, BROKER_AWAY_S = (3.0, 9.0), (5.0, 25.0), (3.0, 12.0)


@dataclass(frozen=True)
class PlannedFault:
    """What happens, how long after the beginning, to which worker, and how long it lasts (seconds)."""

    after_s: float
    kind: Kind
    service: str = ""
    worker: int = 0
    lasts_s: float = 0.0

    @property
    def who(self) -> str:
        return f"{self.service}-{self.worker}" if self.worker else "broker"


def schedule(seed: int, storm_s: float) -> list[PlannedFault]:
    """The misfortunes of a storm, in order: workers all the time, the broker once, about the middle."""
    dice = random.Random(f"misfortunes {seed}")
    kind: Kind = dice.choice(("broker-kill", "broker-stop"))
    broker = PlannedFault(storm_s * dice.uniform(0.4, 0.6), kind, lasts_s=dice.uniform(*BROKER_AWAY_S))
    return sorted([*_workers(dice, storm_s), broker], key=lambda each: each.after_s)


def _workers(dice: random.Random, storm_s: float) -> Iterator[PlannedFault]:
    after_s = dice.uniform(*PAUSE_S)
    while after_s < storm_s:
        [kind] = dice.choices(list(KINDS), list(KINDS.values()))
        [service] = dice.choices(list(SERVICES), list(SERVICES.values()))
        worker = 1 if service == "console" else dice.randint(1, WORKERS)
        lasts_s = min(dice.uniform(*FREEZE_S), storm_s - after_s) if kind == "freeze" else 0.0
        yield PlannedFault(after_s, kind, service, worker, lasts_s)
        after_s += dice.uniform(*PAUSE_S)


def process_of(system: System, service: str, worker: int) -> psutil.Process | None:
    """A worker of our own `saga up`, if it is alive just now."""
    port = str(system.settings[f"{service}_port"] + 100 * (worker - 1))
    for each in system.children():
        try:
            if f"agents:{service}" in each.cmdline() and each.environ()[f"SAGA_{service.upper()}_PORT"] == port:
                return each
        except (psutil.NoSuchProcess, psutil.AccessDenied, KeyError):  # it has just ended
            continue
    return None


class FaultInjector:
    """Deals misfortunes in a thread of its own, each that lasts in one more; `clear` ends all of them."""

    def __init__(
        self, misfortunes: Iterable[PlannedFault], system: System, broker: RealKafka, fault_log: FaultLog
    ) -> None:
        self._misfortunes, self._system, self._broker, self._diary = list(misfortunes), system, broker, fault_log
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self.failures: list[str] = []

    def start(self) -> None:
        self._threads[0].start()

    def clear(self) -> None:
        """Returns when nothing is frozen or away any more."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        for each in self._misfortunes:
            if self._over.wait(max(0.0, began + each.after_s - time.monotonic())):
                return
            if not each.lasts_s:
                self._signal(each, signal.SIGKILL if each.kind == "kill" else signal.SIGTERM)
                continue
            thread = threading.Thread(target=self._lasting, args=(each,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _signal(self, each: PlannedFault, number: signal.Signals) -> None:
        process = process_of(self._system, each.service, each.worker)
        if process is not None:
            self._diary.note(time.time(), each.kind, each.who)
            _send(process, number)

    def _lasting(self, each: PlannedFault) -> None:
        try:
            if each.kind == "freeze":
                self._freeze(each)
            else:
                self._without_broker(each)
        except Exception as error:  # the run must not call itself a storm if nothing happened
            self.failures.append(f"{each}: {error!r}")

    def _freeze(self, each: PlannedFault) -> None:
        process = process_of(self._system, each.service, each.worker)
        if process is None:
            return
        number = self._diary.begin(time.time(), "freeze", each.who)
        _send(process, signal.SIGSTOP)
        self._over.wait(each.lasts_s)
        self._diary.end(number, time.time())
        _send(process, signal.SIGCONT)

    def _without_broker(self, each: PlannedFault) -> None:
        number = self._diary.begin(time.time(), each.kind, each.who)
        if each.kind == "broker-kill":
            self._broker.kill()
        else:
            self._broker.stop()
        self._over.wait(each.lasts_s)
        self._broker.start()
        self._diary.end(number, time.time())


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        if process.is_running():  # this one, and not another that was given its number
            os.kill(process.pid, number)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass
