"""The table and the JSON file."""

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

from benchmarks.numbers import Goal


@dataclass(frozen=True)
class Line:
    """A figure beside a rival's, or alone; medians of all rounds."""

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
        """None where there is no goal."""
        return None if self.goal is None else self.goal.met(self.ours, self.ratio)

    def json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"goal": None if self.goal is None else str(self.goal), "met": self.met}


@dataclass
class Report:
    """All that a run has found."""

    options: dict[str, Any]
    lines: list[Line] = field(default_factory=list)
    #: Runs that lost something or did not come to an end.
    failures: list[str] = field(default_factory=list)
    #: By figure and side: what was measured in each round.
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """For people."""
        table = Table(title=f"{machine()}; medians of {self.options['runs']} rounds")
        for column in ("figure", "ours", "rival", "rival's", "ratio", "goal", "met"):
            table.add_column(column, justify="left" if column in ("figure", "rival", "goal") else "right")
        for line in self.lines:
            table.add_row(*cells(line))
        console.print(table)
        for failure in self.failures:
            console.print(f"  {failure}", style="red", markup=False, highlight=False)

    def write(self, file: Path) -> None:
        """For programs."""
        found = {
            "machine": machine(),
            "options": self.options,
            "lines": [line.json() for line in self.lines],
            "failures": self.failures,
            "rounds": self.rounds,
        }
        file.write_text(json.dumps(found, indent=1, default=str) + "\n")


def cells(line: Line) -> Sequence[str]:
    """A row of the table."""
    met = {None: "", True: "[green]yes[/]", False: "[bold red]no[/]"}[line.met]
    figure = line.figure + (f" [dim]({line.note})[/]" if line.note else "")
    relative = "" if line.ratio is None else f"{line.ratio:.2f} ×"
    theirs = shown(line.theirs, line.unit) if line.rival else ""
    return figure, shown(line.ours, line.unit), line.rival, theirs, relative, str(line.goal or ""), met


def shown(value: float | None, unit: str) -> str:
    """Three digits that count."""
    if value is None or math.isnan(value):
        return "-"
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def machine() -> str:
    """What it was measured on."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
