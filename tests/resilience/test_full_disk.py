"""The disk of `SAGA_DATADIR` fills up under load and is emptied again."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtools.system import System
from devtools.wait import until
from tests.kafka.kafka_system import count_states, view_rows
from tests.topics import send, user

#: Holds a few thousand rows, and is filled quickly.
DISK_SIZE_MIB = 96

#: The limit of log lines of all four processes while the disk is full.
MAX_LOG_LINES = 100


class Disk:
    """A small disk that can be filled."""

    def __init__(self, path: Path) -> None:
        self.path, self.ballast = path, path / "ballast"

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with self.ballast.open("ab", buffering=0) as file:
            for size_bytes in (1 << 20, 4096, 1):
                try:
                    while file.write(b"\0" * size_bytes):
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        """Free the space that `fill` has taken."""
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk in memory, mounted for the test."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or _mount("mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE_MIB}m", "tmpfs", str(path)):
        pytest.skip("permission to mount a tmpfs is needed")
    yield Disk(path)
    _mount("umount", "--lazy", str(path))


def _mount(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True, timeout=10).returncode


@pytest.mark.timeout(150)
def test_a_full_disk_is_reported_with_its_directory_and_loses_nothing(
    kafka: str, disk: Disk, start_system: Callable[..., System]
) -> None:
    system = start_system("--broker", f"kafka://{kafka}", lag="0-0.1", datadir=disk.path)
    send(kafka, "new-user", ((b"disk%d" % n, user(f"disk{n}")) for n in range(300)))
    until(lambda: count_states(kafka, "disk")["completed"] == 300, 30, "not all 300 users completed", every_s=0.5)
    disk.fill()
    lines_before = len(system.lines)
    send(kafka, "new-user", ((b"disk%d" % n, user(f"disk{n}")) for n in range(300, 1500)))
    no_space = system.wait_for_line("No space left on device", 30)
    assert str(disk.path) in no_space
    until(lambda: "restarting in" in system.output_tail(), 30, "no service restarted")
    lines = [line for line in system.lines[lines_before:] if " | " not in line]  # without Faust's banner
    disk.empty()
    until(lambda: count_states(kafka, "disk")["completed"] == 1500, 60, "not all 1,500 users completed", every_s=0.5)
    ids, port = {f"disk{n}" for n in range(1500)}, system.settings["provisioner_port"]
    until(lambda: view_rows(port).keys() >= ids, 30, "the view does not show every row", every_s=0.5)
    kinds = Counter(re.sub(r"\d+", "#", line)[:120] for line in lines)
    print(f"\n{no_space}\n{len(lines)} lines while the disk was full")
    assert len(lines) < MAX_LOG_LINES, f"too many log lines: {kinds.most_common(20)}"
