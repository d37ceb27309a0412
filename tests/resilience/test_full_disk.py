"""The disk of `SAGA_DATADIR` fills up under load, and there is room again later."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtools.system import System
from devtools.wait import until
from tests.kafka.test_saga import states
from tests.resilience.test_compaction import shown
from tests.topics import send, user

#: Enough for a few thousand rows, and soon full (MiB).
SIZE_MB = 96

#: Of all four processes while the disk is full.
LINES = 100


class Disk:
    """A small one of its own."""

    def __init__(self, path: Path) -> None:
        self.path, self.ballast = path, path / "ballast"

    def fill(self) -> None:
        """To the last byte."""
        with self.ballast.open("ab", buffering=0) as file:
            for piece in (1 << 20, 4096, 1):
                try:
                    while file.write(b"\0" * piece):
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        """Room again."""
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """In memory."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or _mount("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(path)):
        pytest.skip("a disk that can be filled needs the right to mount one")
    yield Disk(path)
    _mount("umount", "--lazy", str(path))


def _mount(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True, timeout=10).returncode


@pytest.mark.timeout(150)
def test_a_full_disk_is_said_with_its_directory_and_nothing_is_lost(
    kafka: str, disk: Disk, start_system: Callable[..., System]
) -> None:
    system = start_system("--broker", f"kafka://{kafka}", lag="0-0.1", datadir=disk.path)
    send(kafka, "new-user", ((b"disk%d" % n, user(f"disk{n}")) for n in range(300)))
    until(lambda: states(kafka, "disk")["completed"] == 300, 30, "300 users completed", every_s=0.5)
    disk.fill()
    said = len(system.lines)
    send(kafka, "new-user", ((b"disk%d" % n, user(f"disk{n}")) for n in range(300, 1500)))
    line = system.wait_for_line("No space left on device", 30)
    assert str(disk.path) in line
    until(lambda: "restarting in" in system.said(), 30, "a service has ended and is started again")
    full = [each for each in system.lines[said:] if " | " not in each]  # without Faust's banner
    disk.empty()
    until(lambda: states(kafka, "disk")["completed"] == 1500, 60, "1,500 users completed", every_s=0.5)
    until(lambda: len(shown(system).keys() & {f"disk{n}" for n in range(1500)}) == 1500, 30, "every row", every_s=0.5)
    kinds = Counter(re.sub(r"\d+", "#", each)[:120] for each in full)
    print(f"\n{line}\n{len(full)} lines while the disk was full")
    assert len(full) < LINES, f"a flood of log lines: {kinds.most_common(20)}"
