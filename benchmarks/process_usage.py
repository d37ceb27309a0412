"""CPU time and memory of processes, from /proc."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """By the name of a process: seconds of CPU time (user and system), and resident bytes."""

    cpu_s: dict[str, float]
    memory_bytes: dict[str, int]

    def cpu_since(self, earlier: "Usage", names: Iterable[str]) -> float:
        """CPU seconds that these processes have used since `earlier`."""
        return sum(self.cpu_s[name] - earlier.cpu_s.get(name, 0.0) for name in names)

    def memory_of(self, names: Iterable[str]) -> int:
        """Resident bytes of these processes."""
        return sum(self.memory_bytes[name] for name in names)


def usage_of(pids: Mapping[str, int]) -> Usage:
    """The usage of processes by name; those that have ended are left out."""
    cpu_s, memory_bytes = {}, {}
    for name, pid in pids.items():
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            cpu_s[name], memory_bytes[name] = times.user + times.system, process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return Usage(cpu_s, memory_bytes)
