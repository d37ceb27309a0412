"""What processes use: processor seconds and memory, from /proc."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

MIB = 1024 * 1024


@dataclass(frozen=True)
class Used:
    """By the name of a process: seconds of processor time (user and system) and resident bytes."""

    cpu_s: dict[str, float]
    memory: dict[str, int]

    def cpu_since(self, earlier: "Used", names: Iterable[str]) -> float:
        """Processor seconds of these since then."""
        return sum(self.cpu_s[name] - earlier.cpu_s.get(name, 0.0) for name in names)

    def memory_of(self, names: Iterable[str]) -> int:
        """Resident bytes of these."""
        return sum(self.memory[name] for name in names)


def look(processes: dict[str, int]) -> Used:
    """Names and process ids; one that is gone is left out."""
    cpu_s, memory = {}, {}
    for name, pid in processes.items():
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            cpu_s[name], memory[name] = times.user + times.system, process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return Used(cpu_s, memory)
