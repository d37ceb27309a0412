"""What was done to the system, and when: so that what is seen afterwards can be explained."""

import threading
from collections import Counter
from dataclasses import dataclass, replace

#: Times are seconds since 1970.
FOREVER = float("inf")


@dataclass(frozen=True)
class Fault:
    """Something that happened to somebody, from `at` until `until`; `who` is service-number, or the broker."""

    at: float
    until: float
    kind: str
    who: str

    def __str__(self) -> str:
        took = f" for {self.until - self.at:.1f} s" if 0 < self.until - self.at < FOREVER else ""
        return f"{self.kind} {self.who}{took}"


class FaultLog:
    """Written by several threads."""

    def __init__(self) -> None:
        self._entries: list[Fault] = []
        self._lock = threading.Lock()

    def begin(self, at: float, kind: str, who: str) -> int:
        """Something that lasts; its number."""
        with self._lock:
            self._entries.append(Fault(at, FOREVER, kind, who))
            return len(self._entries) - 1

    def end(self, number: int, at: float) -> None:
        """It is over."""
        with self._lock:
            self._entries[number] = replace(self._entries[number], until=at)

    def note(self, at: float, kind: str, who: str) -> None:
        """Something that takes no time."""
        self.end(self.begin(at, kind, who), at)

    @property
    def entries(self) -> list[Fault]:
        with self._lock:
            return list(self._entries)

    def counted(self) -> Counter[str]:
        """How often each kind."""
        return Counter(entry.kind for entry in self.entries)

    def around(self, start: float, end: float) -> list[Fault]:
        """What went on in a span of time."""
        return [entry for entry in self.entries if entry.at <= end and entry.until >= start]
