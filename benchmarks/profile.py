"""`python -m benchmarks.profile [--against COMMIT]`: where the Provisioner spends its processor time in a burst.

Takes about a minute for each side and needs `perf` (Debian: linux-perf) with the right to sample processes.
"""

import argparse
import logging
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import structlog
from rich.console import Console
from rich.table import Table

from benchmarks import other_commit, workloads
from benchmarks.figures.table import PROVISIONER
from benchmarks.our_services import OurServices
from benchmarks.process_usage import MIB
from benchmarks.progress import Progress, Update, saga_count
from benchmarks.testbed import Testbed, running_testbed
from devtools import real_kafka

#: Sagas in the warm-up and in the burst that is sampled.
WARM_UP_SAGAS, SAGAS = 4_000, 40_000

#: Samples a second; an odd number, so that timers of whole milliseconds are not met each time.
SAMPLES_PER_S = 499

#: Libraries with a smaller share are left out (percent).
LEAST_PERCENT = 1.0

#: Names for readers of the libraries whose files are named otherwise.
NAMES: Mapping[str, str] = {
    "[kernel": "kernel",
    "_core": "msgspec",
    "_pydantic_core": "pydantic",
    "cimpl": "confluent-kafka",
    "libc": "C library",
    "libpython3": "Python interpreter",
    "rocksdict": "RocksDB",
}

#: A line of `perf report --sort dso`: the share, and the library.
REPORT_LINE = re.compile(r"^\s*([\d.]+)%\s+(\S+)", re.MULTILINE)

#: Prints the resident bytes of a process that has imported the Provisioner and has not connected to anything.
IMPORT_MEMORY = "import agents.provisioner, psutil; print(psutil.Process().memory_info().rss)"


class Profile(NamedTuple):
    """`percent`: the share of each library; `cpu_ms`: of the Provisioner, a saga; `import_mib`: see IMPORT_MEMORY."""

    percent: Mapping[str, float]
    cpu_ms: float
    import_mib: float


def main() -> int:
    """Print the table. Returns 1 if a program is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--against", metavar="COMMIT", help="profile this commit of the project too")
    against = parser.parse_args().against
    try:
        if against:
            other_commit.resolve(against)
    except ValueError as error:
        parser.error(f"--against: {error}")
    reason = real_kafka.missing() or ("" if shutil.which("perf") else "perf is missing (Debian: linux-perf)")
    if reason:
        print(reason, file=sys.stderr)
        return 1
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console()
    progress = Progress(console)
    sides: dict[str, Callable[[Testbed], OurServices]] = {"now": OurServices}
    if against:
        with progress.task(f"checking out {against}"):
            other = other_commit.checkout(against)
        sides[other.name] = lambda testbed: OurServices(testbed, root=other.root, python=other.python)
    profiles = {}
    for name, create in sides.items():
        with progress.task(f"profiling {name}") as update:
            profiles[name] = profile(create, update)
    console.print(table(profiles))
    return 0


def profile(create: Callable[[Testbed], OurServices], update: Update) -> Profile:
    """Sample the Provisioner during a burst of these services."""
    with running_testbed() as testbed, create(testbed) as services:
        workloads.warm_up(services, WARM_UP_SAGAS, saga_count(update, "warm-up", WARM_UP_SAGAS))
        file = testbed.directory / "perf.data"
        with sampled(services.processes[PROVISIONER].process.pid, file):
            figures = workloads.burst(services, SAGAS, "burst", saga_count(update, "burst", SAGAS))
        update("reading the samples")
        command = ("perf", "report", "--input", str(file), "--no-children", "--sort", "dso", "--stdio")
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        imported = subprocess.run(
            (services.python, "-c", IMPORT_MEMORY), check=True, capture_output=True, text=True, cwd=services.root
        ).stdout
    percent: defaultdict[str, float] = defaultdict(float)
    for share, library in REPORT_LINE.findall(report):
        percent[library_of(library)] += float(share)
    return Profile(percent, figures["cpu_ms_per_saga"][PROVISIONER], int(imported) / MIB)


@contextmanager
def sampled(pid: int, file: Path) -> Iterator[None]:
    """Sample a process while the body runs. Raises RuntimeError if `perf` may not do that."""
    command = ("perf", "record", "-F", str(SAMPLES_PER_S), "-o", str(file), "-p", str(pid))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()  # perf then writes its file
        process.wait(30)
    if not file.exists():
        raise RuntimeError("perf has recorded nothing: it needs the right to sample (kernel.perf_event_paranoid)")


def library_of(file: str) -> str:
    """The name of a library: without version and platform, or as in NAMES."""
    name = re.split(r"\.|-[0-9a-f]{8}\b", file)[0]
    return NAMES.get(name, name)


def table(profiles: dict[str, Profile]) -> Table:
    """A row for each library, and the figures of the whole process."""
    shown = Table("Provisioner", *profiles, title=f"share of its processor time in a burst of {SAGAS:,} sagas")
    names = {name for each in profiles.values() for name, share in each.percent.items() if share >= LEAST_PERCENT}
    for name in sorted(names, key=lambda name: -next(iter(profiles.values())).percent.get(name, 0.0)):
        shown.add_row(name, *(f"{each.percent.get(name, 0.0):.0f} %" for each in profiles.values()))
    shown.add_section()
    shown.add_row("processor time per saga", *(f"{each.cpu_ms:.2f} ms" for each in profiles.values()))
    shown.add_row("memory after its imports", *(f"{each.import_mib:.0f} MiB" for each in profiles.values()))
    return shown


if __name__ == "__main__":
    sys.exit(main())
