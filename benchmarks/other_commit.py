"""A checkout of another commit of this repository, so that two states of the project are measured in one run."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.implementation import ROOT

#: Checkouts are kept here, each with its own environment, because creating one takes a minute.
CHECKOUTS = ROOT / ".saga" / "checkouts"


@dataclass(frozen=True)
class OtherCommit:
    """A commit, and the directory with its files and its virtual environment."""

    name: str  #: the abbreviated hash
    root: Path

    @property
    def python(self) -> str:
        """The Python interpreter with the packages that this commit pins."""
        return str(self.root / ".venv" / "bin" / "python")


def resolve(commit: str) -> str:
    """The abbreviated hash of a commit, given in any form that git accepts. Raises `ValueError` if there is none."""
    found = _git("rev-parse", "--verify", "--quiet", "--short=10", f"{commit}^{{commit}}")
    if found.returncode != 0:
        raise ValueError(f"{commit} is not a commit of this repository")
    return found.stdout.strip()


def checkout(commit: str) -> OtherCommit:
    """Check out a commit beside this one, and install its packages. Raises `RuntimeError` with the output of a failure.

    A checkout that exists is used again.
    """
    name = resolve(commit)
    root = CHECKOUTS / name
    if not root.exists():
        _git("worktree", "prune")
        added = _git("worktree", "add", "--detach", str(root), name)
        if added.returncode != 0:
            raise RuntimeError(f"git worktree add: {added.stderr.strip()}")
    installed = _run("make", "-C", str(root), ".venv/.installed")
    if installed.returncode != 0:
        raise RuntimeError(f"the packages of {name} could not be installed:\n{installed.stderr[-2000:]}")
    return OtherCommit(name, root)


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _run("git", "-C", str(ROOT), *arguments)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
