"""A log of the injected faults, with which repeated mails and stalls are explained."""

import threading
from collections import Counter
from dataclasses import dataclass, replace

#: The end of a fault that has not ended.
FOREVER = float("inf")


@dataclass(frozen=True)
class Fault:
    """An injected fault. Times are seconds since 1970; `target` is a worker such as notifier-1, or broker."""

    began_at: float
    ended_at: float
    kind: str
    target: str

    def __str__(self) -> str:
        duration_s = self.ended_at - self.began_at
        suffix = f" for {duration_s:.1f} s" if 0 < duration_s < FOREVER else ""
        return f"{self.kind} {self.target}{suffix}"


class FaultLog:
    """A thread-safe list of faults."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def begin(self, at: float, kind: str, target: str) -> int:
        """Add a fault that lasts, and return its number for `end()`."""
        with self._lock:
            self._faults.append(Fault(at, FOREVER, kind, target))
            return len(self._faults) - 1

    def end(self, number: int, at: float) -> None:
        """Set the end of a fault."""
        with self._lock:
            self._faults[number] = replace(self._faults[number], ended_at=at)

    def add(self, at: float, kind: str, target: str) -> None:
        """Add a fault without duration."""
        self.end(self.begin(at, kind, target), at)

    @property
    def faults(self) -> list[Fault]:
        """All faults so far, in the order in which they began."""
        with self._lock:
            return list(self._faults)

    def counts_by_kind(self) -> Counter[str]:
        return Counter(fault.kind for fault in self.faults)

    def overlapping(self, start: float, end: float) -> list[Fault]:
        """The faults that were active at any time between `start` and `end`."""
        return [fault for fault in self.faults if fault.began_at <= end and fault.ended_at >= start]
