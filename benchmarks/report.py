"""The result of a run: a table on the terminal, and a JSON file."""

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.goal import Goal


@dataclass(frozen=True)
class Line:
    """One figure, alone or next to a rival's; medians over all rounds."""

    figure: str
    unit: str
    ours: float | None
    goal: Goal | None = None
    rival: str = ""
    theirs: float | None = None
    ratio: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None if there is no goal."""
        return None if self.goal is None else self.goal.is_met(self.ours, self.ratio)

    def json(self) -> dict[str, Any]:
        """All fields, with the goal as text, and whether it is met."""
        return asdict(self) | {"goal": None if self.goal is None else str(self.goal), "met": self.met}


@dataclass
class Report:
    """Everything measured in a run."""

    options: dict[str, Any]
    lines: list[Line] = field(default_factory=list)
    #: The titles of failed trials with the error of each.
    failures: list[str] = field(default_factory=list)
    #: By figure and implementation: the measured values of each round.
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """Print the table, and below it the failed trials."""
        table = Table(title=f"{machine()}; medians of {self.options['runs']} rounds")
        for column in ("figure", "ours", "rival", "rival's", "ratio", "goal", "met"):
            table.add_column(column, justify="left" if column in ("figure", "rival", "goal") else "right")
        for line in self.lines:
            table.add_row(*cells(line))
        console.print(table)
        for failure in self.failures:
            console.print(f"  {failure}", style="red", markup=False, highlight=False)

    def write(self, file: Path) -> None:
        """Write everything as JSON."""
        content = {
            "machine": machine(),
            "options": self.options,
            "lines": [line.json() for line in self.lines],
            "failures": self.failures,
            "rounds": self.rounds,
        }
        file.write_text(json.dumps(content, indent=1, default=str) + "\n")


def cells(line: Line) -> Sequence[str]:
    """The cells of a line in the table, with rich markup."""
    met = {None: "", True: "[green]yes[/]", False: "[bold red]no[/]"}[line.met]
    figure = line.figure + (f" [dim]({line.note})[/]" if line.note else "")
    relative = "" if line.ratio is None else f"{line.ratio:.2f} ×"
    theirs = formatted(line.theirs, line.unit) if line.rival else ""
    return figure, formatted(line.ours, line.unit), line.rival, theirs, relative, str(line.goal or ""), met


def formatted(value: float | None, unit: str) -> str:
    """A value with three significant digits and its unit; "-" if it is missing."""
    if value is None or math.isnan(value):
        return "-"
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def machine() -> str:
    """A description of this machine: cores, memory, operating system and Python version."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
