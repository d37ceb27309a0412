"""A PostgreSQL server of the tests' own, without a network beyond loopback, if the machine has one to start."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from devtools.wait import free_port, until


def programs() -> Path | None:
    """Where initdb and postgres are; Debian keeps them off the path."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    candidates = [Path(found).resolve().parent] if found else folders
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


@contextmanager
def running(bin: Path) -> Iterator[str]:
    """The URL of an empty database; the server ends with the block."""
    folder = Path(mkdtemp(prefix="saga-postgres-"))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(folder, user)
    port, data = free_port(), folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": user, "cwd": "/"}
    subprocess.run(
        [bin / "initdb", "-D", data, "-U", "saga", "--auth=trust", "-E", "UTF8", "--no-sync"], check=True, **quiet
    )
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
    named = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    server = subprocess.Popen([bin / "postgres", "-D", data, *named], **quiet)
    try:
        asked = [bin / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
        until(lambda: subprocess.run(asked, check=False).returncode == 0, 20, "PostgreSQL does not answer")
        yield f"postgresql://saga@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
