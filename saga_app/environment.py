"""Start-up checks of directories, ports and packages. A problem is reported in one line instead of a traceback.

Imports only the standard library, so that it can report missing packages.
"""

import errno
import fcntl
import io
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import NoReturn

#: Exit code of a service whose environment must be fixed before a restart can succeed. A crash exits with 1.
WRONG_ENVIRONMENT = 2

#: The disk is full or the quota is exhausted: a later start may succeed without a change of the settings.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

#: Size of the probe file that checks for free space.
_PROBE_BYTES = 4096


class WrongEnvironment(Exception):
    """A resource that a setting names cannot be used. The text is one line: setting, value, reason, remedy.

    `temporary`: whether the resource may become usable by itself, so that a restart makes sense.
    """

    def __init__(self, text: object, *, temporary: bool = False) -> None:
        super().__init__(" ".join(str(text).split()))
        self.temporary = temporary


def stop(error: object) -> NoReturn:
    """Exit the process with one line on standard error; exit code 2, or 1 if a restart may help."""
    print(error, file=sys.__stderr__, flush=True)
    raise SystemExit(1 if getattr(error, "temporary", False) else WRONG_ENVIRONMENT)


def report_in_one_line() -> None:
    """Install an exception hook that reports an uncaught `WrongEnvironment` or `ImportError` in one line."""
    sys.excepthook = _excepthook


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, ImportError):
        stop(f"a Python package is missing or damaged ({error}): install the program again, with its requirements")
    if isinstance(error, WrongEnvironment):
        stop(error)
    sys.__excepthook__(kind, error, traceback)


def replace_unencodable_characters() -> None:
    """Configure stdout and stderr to replace characters that they cannot encode instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def missing_packages(distribution: str = "faust-saga-onboarding") -> Iterator[str]:
    """Names of required packages that are not installed; none if the program itself is not an installed package."""
    import importlib.metadata  # local: it takes as long as the rest of a command's start-up

    try:
        requirements = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name is None or "extra ==" in requirement:
            continue
        try:
            importlib.metadata.distribution(name[0])
        except importlib.metadata.PackageNotFoundError:
            yield name[0]


def check_packages() -> None:
    """Raises `WrongEnvironment` if required packages are not installed."""
    if missing := sorted(missing_packages()):
        raise WrongEnvironment(f"Python packages are missing: {', '.join(missing)}: install the program again")


def use_directory(variable: str, value: Path, name: str = "") -> Path:
    """Create a directory if necessary and check that it is writable; returns its absolute path.

    `variable` and `value` are the setting, `name` is an optional subdirectory. Raises `WrongEnvironment`.
    """
    path = value / name
    try:
        path = path.absolute()  # fails if the working directory is gone
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise _unusable(variable, value, path, error) from None
    return path


def claim_directory(path: Path) -> int:
    """Lock the directory for this process. The lock lasts until the returned descriptor is closed.

    Raises `WrongEnvironment` if another process holds the lock.
    """
    try:
        descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable("SAGA_DATADIR", path.parent, path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise WrongEnvironment(
            f"SAGA_DATADIR={path.parent}: {path.name} is in use by another worker: give each worker of a service its "
            "own SAGA_INSTANCE or SAGA_DATADIR"
        ) from None
    except OSError:  # a file system without locks: RocksDB has its own lock
        pass
    return descriptor


def _unusable(variable: str, value: Path, path: Path, error: OSError) -> WrongEnvironment:
    reasons = {errno.EEXIST: "it is a file", errno.ENOTDIR: "a parent of it is a file"}
    reason = reasons.get(error.errno or 0) or error.strerror or str(error)
    remedy = "set it to a directory that this account can create and write to"
    if error.errno in _NO_ROOM:
        remedy = "free disk space, or set it to a directory on another disk"
    within = f"({path.name} in it) " if path.name != value.name else ""
    text = f"{variable}={value} {within}cannot be used ({reason}): {remedy}"
    return WrongEnvironment(text, temporary=error.errno in _NO_ROOM)


def check_ports(ports: Mapping[str, tuple[str, int]]) -> None:
    """Raises `WrongEnvironment` if a server cannot listen on one of the addresses.

    `ports`: host and port by the variable that sets the port.
    """
    seen: dict[int, str] = {}
    for variable, (_, port) in ports.items():
        if port in seen:
            raise WrongEnvironment(f"{seen[port]} and {variable} are both {port}: give one of them another port")
        seen[port] = variable
    for variable, (host, port) in ports.items():
        if error := _refusal(host, port):
            raise WrongEnvironment(_port_problem(variable, host, port, error))


def _port_problem(variable: str, host: str, port: int, error: OSError) -> str:
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL):
        return f"SAGA_BIND={host} is not an address of this machine ({error.strerror}): set it to one that is"
    reasons = {errno.EADDRINUSE: "is in use by another program", errno.EACCES: "is not permitted for this account"}
    reason = reasons.get(error.errno or 0) or f"cannot be used ({error.strerror})"
    return f"port {port} on {host} {reason}: set {variable} to another one"


def _refusal(host: str, port: int) -> OSError | None:
    """The error of listening on this address, or None."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as the servers do, so that old connections do not block the port
            if ":" in host:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
            probe.listen(1)  # binding alone succeeds even if another socket listens
    except OSError as error:
        return error
    return None
