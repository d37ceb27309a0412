"""Run a PostgreSQL server on loopback, if it is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from devtools.wait import free_port, until


def programs() -> Path | None:
    """The folder of initdb and postgres, which Debian keeps outside PATH; None if they are not installed."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    candidates = [Path(found).resolve().parent] if found else folders
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


@contextmanager
def running(bin: Path) -> Iterator[str]:
    """Run a server with an empty database. Yields the URL; the server stops at the end of the block."""
    folder = Path(mkdtemp(prefix="saga-postgres-"))
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    if user:
        shutil.chown(folder, user)
    port, data = free_port(), folder / "data"
    start = partial(subprocess.Popen[bytes], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/")
    initdb = [bin / "initdb", "-D", data, "-U", "saga", "--auth=trust", "-E", "UTF8", "--no-sync"]
    assert start(initdb).wait() == 0, "initdb failed"
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    server = start([bin / "postgres", "-D", data, *settings])
    try:
        pg_isready = [str(bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        until(
            lambda: subprocess.run(pg_isready, check=False).returncode == 0,
            20,
            "PostgreSQL does not accept connections",
        )
        yield f"postgresql://saga@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
