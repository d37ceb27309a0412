"""Unusable directories, ports, indexes and packages are reported in one line with the setting and the remedy."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.wait import free_port
from saga_app import environment
from saga_app.console.index.database import Database
from saga_app.environment import WrongEnvironment
from tests import postgres

#: The user id of an account without privileges.
UNPRIVILEGED_UID = 65534

Now = Callable[[str], None]


@contextmanager
def without_root_privileges() -> Iterator[None]:
    """Run as an unprivileged account, because file permissions do not apply to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(UNPRIVILEGED_UID)
    try:
        yield
    finally:
        os.seteuid(0)


def one_line_of(problem: pytest.ExceptionInfo[WrongEnvironment]) -> str:
    """The text of the error, which must be one line."""
    text = str(problem.value)
    assert text
    assert "\n" not in text
    return text


def read_only_directory(folder: Path) -> Path:
    """A path in a directory without write permission."""
    path = folder / "read-only"
    path.mkdir(mode=0o555)
    return path / "data"


def empty_file(folder: Path) -> Path:
    path = folder / "file"
    path.write_text("")
    return path


def link_to_itself(folder: Path) -> Path:
    path = folder / "loop"
    path.symlink_to(path)
    return path / "data"


#: Functions that create an unusable path in a folder.
UNUSABLE_PATHS: dict[str, Callable[[Path], Path]] = {
    "in /proc": lambda _: Path("/proc/x"),
    "a file": empty_file,
    "in a file": lambda folder: empty_file(folder) / "data",
    "in a read-only directory": read_only_directory,
    "a name that is too long": lambda folder: folder / ("x" * 300),
    "a link to itself": link_to_itself,
}


@pytest.mark.field(21)
@pytest.mark.parametrize("kind", UNUSABLE_PATHS)
def test_an_unusable_directory_is_reported_with_its_setting(kind: str, tmp_path: Path, now: Now) -> None:
    path = UNUSABLE_PATHS[kind](tmp_path)
    tmp_path.chmod(0o755)
    with without_root_privileges(), pytest.raises(WrongEnvironment) as problem:
        environment.use_directory("SAGA_DATADIR", path)
    assert one_line_of(problem).startswith(f"SAGA_DATADIR={path} cannot be used (")
    assert "set it to a directory" in one_line_of(problem)
    now(one_line_of(problem).replace(str(tmp_path), "")[:60])


@pytest.mark.field(21)
def test_a_deleted_working_directory_is_reported_with_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(WrongEnvironment, match=r"SAGA_DATADIR=\.saga cannot be used"):
        environment.use_directory("SAGA_DATADIR", Path(".saga"))


@pytest.mark.field(21)
def test_a_full_disk_is_a_temporary_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "TemporaryFile", lambda dir: open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    with pytest.raises(WrongEnvironment, match="free disk space") as problem:
        environment.use_directory("SAGA_DATADIR", tmp_path)
    assert problem.value.temporary


def test_a_usable_directory_is_created_and_left_empty(tmp_path: Path) -> None:
    path = environment.use_directory("SAGA_DATADIR", tmp_path / "a", "b")
    assert path == tmp_path / "a" / "b"
    assert not list(path.iterdir())


@pytest.mark.field(21)
def test_two_workers_cannot_use_one_directory(tmp_path: Path) -> None:
    claim = environment.claim_directory(tmp_path)
    with pytest.raises(WrongEnvironment, match=r"in use by another worker: .*SAGA_INSTANCE"):
        environment.claim_directory(tmp_path)
    os.close(claim)
    os.close(environment.claim_directory(tmp_path))


@pytest.mark.field(21)
@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7", "fe80::1"])
def test_an_address_of_another_machine_is_reported_with_its_setting(host: str) -> None:
    with pytest.raises(WrongEnvironment, match=f"SAGA_BIND={host} is not an address of this machine"):
        environment.check_ports({"SAGA_CONSOLE_PORT": (host, free_port())})


@pytest.mark.field(21)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_reported_with_its_setting(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        expected = f"port {port} on {host} is in use by another program: set SAGA_CONSOLE_PORT to another one"
        with pytest.raises(WrongEnvironment, match=expected):
            environment.check_ports({"SAGA_CONSOLE_PORT": (host, port)})


def test_checking_a_free_port_leaves_it_free() -> None:
    port = free_port()
    for _ in range(2):
        environment.check_ports({"SAGA_CONSOLE_PORT": ("127.0.0.1", port)})


def index_in(folder: Path, content: bytes | None) -> Database:
    """An SQLite index whose file has this content, or does not exist."""
    path = folder / "index.sqlite"
    if content is not None:
        path.write_bytes(content)
    return Database(f"sqlite:///{path}")


@pytest.mark.field(21)
def test_a_file_that_is_not_a_database_is_refused_and_kept(tmp_path: Path) -> None:
    database = index_in(tmp_path, b"Dear diary")
    with pytest.raises(WrongEnvironment, match=r"SAGA_INDEX=.* is not an SQLite database"):
        database.check()
    assert (tmp_path / "index.sqlite").read_bytes() == b"Dear diary"


@pytest.mark.field(21)
def test_a_read_only_index_is_reported_with_its_setting(tmp_path: Path) -> None:
    database = index_in(tmp_path, b"")
    (tmp_path / "index.sqlite").chmod(0o444)
    with without_root_privileges(), pytest.raises(WrongEnvironment) as problem:
        database.check()
    assert one_line_of(problem).startswith("SAGA_INDEX=sqlite:///")


@pytest.mark.field(21)
def test_an_index_inside_a_file_is_reported_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(WrongEnvironment, match=r"SAGA_INDEX=.*cannot be used"):
        Database(f"sqlite:///{empty_file(tmp_path)}/index.sqlite")


def test_a_new_index_and_an_empty_file_are_usable(tmp_path: Path) -> None:
    index_in(tmp_path, None).check()
    index_in(tmp_path, b"").check()


@pytest.mark.field(21)
def test_a_missing_database_driver_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(WrongEnvironment, match=r"SAGA_INDEX=.*install the driver") as problem:
        Database("postgresql://saga:hush@db/saga")
    assert "hush" not in one_line_of(problem)


@pytest.mark.field(21)
def test_an_unreachable_database_server_is_no_error() -> None:
    Database(f"postgresql://saga@127.0.0.1:{free_port()}/saga").check()


@pytest.mark.field(21)
def test_a_refused_database_connection_is_reported_with_its_setting(now: Now) -> None:
    programs = postgres.programs()
    if programs is None:
        pytest.skip("PostgreSQL is needed")
    with postgres.running(programs) as url:
        for invalid_url in (url.replace("/postgres", "/absent"), url.replace("saga@", "stranger:hush@")):
            with pytest.raises(WrongEnvironment, match=r"SAGA_INDEX=.*does not exist") as problem:
                Database(invalid_url).check()
            assert "hush" not in one_line_of(problem)
        valid = Database(url)
        valid.check()
        valid.close()  # the server shuts down only when all clients have disconnected
    now(one_line_of(problem)[-60:])


@pytest.mark.field(21)
@pytest.mark.parametrize("code", ["import absent_package", "raise environment.WrongEnvironment('SAGA_X is\\nwrong')"])
def test_an_error_during_the_import_of_a_service_is_one_line(code: str) -> None:
    program = f"from saga_app import environment; environment.report_in_one_line(); {code}"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == environment.WRONG_ENVIRONMENT
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.field(21)
def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    required = ["click>=8.1", "no-such-package>=1", 'no-such-extra; extra == "test"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: required)
    with pytest.raises(WrongEnvironment, match="Python packages are missing: no-such-package:"):
        environment.check_packages()
