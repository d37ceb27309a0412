"""Directories, ports, indexes and packages that cannot be used: one line that names the setting and the remedy."""

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

NOBODY = 65534

Now = Callable[[str], None]


@contextmanager
def another_account() -> Iterator[None]:
    """Root may do everything: act as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def reason(problem: pytest.ExceptionInfo[WrongEnvironment]) -> str:
    """The text, which has to be one line."""
    text = str(problem.value)
    assert text
    assert "\n" not in text
    return text


def locked(folder: Path) -> Path:
    """A directory that this account may not write to."""
    path = folder / "locked"
    path.mkdir(mode=0o555)
    return path / "data"


def a_file(folder: Path) -> Path:
    path = folder / "file"
    path.write_text("")
    return path


def link_to_itself(folder: Path) -> Path:
    path = folder / "loop"
    path.symlink_to(path)
    return path / "data"


UNUSABLE: dict[str, Callable[[Path], Path]] = {
    "nothing can be created there": lambda _: Path("/proc/x"),
    "a file": a_file,
    "below a file": lambda folder: a_file(folder) / "data",
    "another account's": locked,
    "too long a name": lambda folder: folder / ("x" * 300),
    "a link to itself": link_to_itself,
}


@pytest.mark.field(21)
@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_directory_that_cannot_be_used_is_one_line(kind: str, tmp_path: Path, now: Now) -> None:
    path = UNUSABLE[kind](tmp_path)
    tmp_path.chmod(0o755)
    with another_account(), pytest.raises(WrongEnvironment) as problem:
        environment.use_directory("SAGA_DATADIR", path)
    assert reason(problem).startswith(f"SAGA_DATADIR={path} cannot be used (")
    assert "set it to a directory" in reason(problem)
    now(reason(problem).replace(str(tmp_path), "")[:60])


@pytest.mark.field(21)
def test_a_working_directory_that_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(WrongEnvironment, match=r"SAGA_DATADIR=\.saga cannot be used"):
        environment.use_directory("SAGA_DATADIR", Path(".saga"))


@pytest.mark.field(21)
def test_a_full_disk_is_temporary_and_asks_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_address_of_another_machine_names_the_setting(host: str) -> None:
    with pytest.raises(WrongEnvironment, match=f"SAGA_BIND={host} is not an address of this machine"):
        environment.check_ports({"SAGA_CONSOLE_PORT": (host, free_port())})


@pytest.mark.field(21)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_names_the_setting(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = f"port {port} on {host} is in use by another program: set SAGA_CONSOLE_PORT to another one"
        with pytest.raises(WrongEnvironment, match=expected):
            environment.check_ports({"SAGA_CONSOLE_PORT": (host, port)})


def test_a_free_port_stays_free() -> None:
    port = free_port()
    for _ in range(2):
        environment.check_ports({"SAGA_CONSOLE_PORT": ("127.0.0.1", port)})


def index_in(folder: Path, content: bytes | None) -> Database:
    path = folder / "index.sqlite"
    if content is not None:
        path.write_bytes(content)
    return Database(f"sqlite:///{path}")


@pytest.mark.field(21)
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    database = index_in(tmp_path, b"Dear diary")
    with pytest.raises(WrongEnvironment, match=r"SAGA_INDEX=.* is not an SQLite database"):
        database.check()
    assert (tmp_path / "index.sqlite").read_bytes() == b"Dear diary"


@pytest.mark.field(21)
def test_an_index_that_this_account_cannot_write_is_one_line(tmp_path: Path) -> None:
    database = index_in(tmp_path, b"")
    (tmp_path / "index.sqlite").chmod(0o444)
    with another_account(), pytest.raises(WrongEnvironment) as problem:
        database.check()
    assert reason(problem).startswith("SAGA_INDEX=sqlite:///")


@pytest.mark.field(21)
def test_an_index_below_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WrongEnvironment, match=r"SAGA_INDEX=.*cannot be used"):
        Database(f"sqlite:///{a_file(tmp_path)}/index.sqlite")


def test_a_new_index_and_an_empty_file_are_usable(tmp_path: Path) -> None:
    index_in(tmp_path, None).check()
    index_in(tmp_path, b"").check()


@pytest.mark.field(21)
def test_a_missing_database_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(WrongEnvironment, match=r"SAGA_INDEX=.*install the driver") as problem:
        Database("postgresql://saga:hush@db/saga")
    assert "hush" not in reason(problem)


@pytest.mark.field(21)
def test_a_database_server_that_is_away_is_waited_for() -> None:
    Database(f"postgresql://saga@127.0.0.1:{free_port()}/saga").check()


@pytest.mark.field(21)
def test_a_database_server_that_refuses_us_is_one_line(now: Now) -> None:
    programs = postgres.programs()
    if programs is None:
        pytest.skip("PostgreSQL is needed")
    with postgres.running(programs) as url:
        for wrong in (url.replace("/postgres", "/absent"), url.replace("saga@", "stranger:hush@")):
            with pytest.raises(WrongEnvironment, match=r"SAGA_INDEX=.*does not exist") as problem:
                Database(wrong).check()
            assert "hush" not in reason(problem)
        right = Database(url)
        right.check()
        right.close()  # the server waits for its clients
    now(reason(problem)[-60:])


@pytest.mark.field(21)
@pytest.mark.parametrize("code", ["import absent_package", "raise environment.WrongEnvironment('SAGA_X is\\nwrong')"])
def test_what_goes_wrong_while_a_service_is_imported_is_one_line(code: str) -> None:
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
