"""Prints the report, as text or JSON, and the progress."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from time import monotonic
from typing import Self

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from saga_app.audit.case import Finding
from saga_app.audit.judge import Report
from saga_app.terminal import echo, echo_json, visible

#: Titles of the kinds of findings, in the order of output: the most severe first.
TITLES = {
    "unfinished": "offsets committed without an effect",
    "unrecorded-dead-letter": "dead letters that the row does not reflect",
    "never-ended": "started but not ended",
    "ended-twice": "changed after the end",
    "two-devices": "several devices",
    "mail-after-rollback": "rolled back, but the mail was not retracted",
    "undo-missing": "compensation missing",
    "no-predecessor": "step without its predecessor",
    "changelog": "changelog contradicts the topics",
}

#: Delay of the progress bar, and interval of progress lines without a terminal (seconds).
BAR_DELAY_S, LINE_INTERVAL_S = 2.0, 10.0

ProgressCallback = Callable[[int], None]


def show(report: Report, examples: int, as_json: bool) -> None:
    """Print findings by kind, then what could not be checked, then the summary."""
    if as_json:
        echo_json(asdict(report))
        return
    for kind, findings in _grouped(report.findings).items():
        echo(f"{TITLES[kind]}: {len(findings)}")
        _examples(findings[:examples])
        if len(findings) > examples:
            echo(f"  and {len(findings) - examples} more: --examples {len(findings)}")
    for line in report.left_out:
        echo(f"not checked: {line}")
    echo(summary(report))


def _grouped(findings: list[Finding]) -> dict[str, list[Finding]]:
    grouped: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        grouped[finding.kind].append(finding)
    return {kind: grouped[kind] for kind in TITLES if kind in grouped}


def _examples(findings: list[Finding]) -> None:
    """Print findings: in columns on a terminal, tab-separated in a pipe."""
    out = Console(highlight=False, markup=False, emoji=False)
    lines = [tuple(map(visible, (each.saga or "-", each.sentence, " ".join(each.proof)))) for each in findings]
    if not out.is_terminal:
        for line in lines:
            echo("  " + "\t".join(line))
        return
    table = Table(box=None, show_header=False)
    for style in ("bold", "", "dim"):
        table.add_column(style=style, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    out.print(table)


def summary(report: Report) -> str:
    """The last line of the report."""
    found = len(report.findings)
    verdict = f"{found} {'inconsistency' if found == 1 else 'inconsistencies'}" if found else "no inconsistencies"
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.counts.items())
    return f"{verdict}: {report.sagas:,} sagas in {report.records:,} records" + (f" ({counts})" if counts else "")


class Progress:
    """Progress of a long operation on stderr: a bar on a terminal, otherwise a line at intervals."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False)
        self.bar: rich.progress.Progress | None = None
        self.began = self.printed_at = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def of(self, doing: str, total: int) -> ProgressCallback:
        """Start an operation with `total` items; returns a function to be called with the number done."""
        began, task = monotonic(), None

        def on_progress(done: int) -> None:
            nonlocal task
            now = monotonic()
            if not self.console.is_terminal:
                if now > self.printed_at + LINE_INTERVAL_S:
                    self.printed_at = now
                    echo(f"{doing}: {done:,} of {total:,}, {done / (now - began):,.0f} per second", err=True)
            elif now > self.began + BAR_DELAY_S:
                bar = self._bar()
                task = bar.add_task(doing, total=total) if task is None else task
                bar.update(task, completed=done)

        return on_progress

    def _bar(self) -> rich.progress.Progress:
        if self.bar is None:
            columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = rich.progress.Progress(*columns, console=self.console, transient=True)
            self.bar.start()
        return self.bar
