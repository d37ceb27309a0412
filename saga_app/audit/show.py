"""The report and the progress: tables for people, JSON for programs."""

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

#: What each kind of finding is called, in the order in which they are shown: the worst first.
TITLES = {
    "unfinished": "offsets committed past unfinished work",
    "unnoted-dead-letter": "a dead letter that nobody has noted",
    "never-ended": "started and never ended",
    "ended-twice": "ended twice",
    "two-devices": "two devices",
    "mail-after-rollback": "rolled back, and the mail stands",
    "undo-missing": "an undo is missing",
    "no-predecessor": "a step without its predecessor",
    "changelog": "the changelog disagrees with the topics",
}

#: When progress is shown, and how often where there is no terminal (seconds).
PATIENCE_S, LINE_S = 2.0, 10.0

Tell = Callable[[int], None]


def show(report: Report, examples: int, as_json: bool) -> None:
    """On standard output: what does not add up, by its kind, then what could not be looked at, then the sum."""
    if as_json:
        echo_json(asdict(report))
        return
    for kind, findings in _grouped(report.findings).items():
        echo(f"{TITLES[kind]}: {len(findings)}")
        _examples(findings[:examples])
        if len(findings) > examples:
            echo(f"  and {len(findings) - examples} more: --examples {len(findings)}")
    for line in report.left_out:
        echo(f"left out: {line}")
    echo(summary(report))


def _grouped(findings: list[Finding]) -> dict[str, list[Finding]]:
    grouped: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        grouped[finding.kind].append(finding)
    return {kind: grouped[kind] for kind in TITLES if kind in grouped}


def _examples(findings: list[Finding]) -> None:
    """On a terminal in columns; in a pipe a line each, with tabs between."""
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
    """The last line."""
    found = len(report.findings)
    verdict = f"{found} {'thing does' if found == 1 else 'things do'} not add up" if found else "everything adds up"
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.counts.items())
    return f"{verdict}: {report.sagas:,} sagas in {report.records:,} records" + (f" ({counts})" if counts else "")


class Progress:
    """How far it is, on standard error, if it lasts: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False)
        self.bar: rich.progress.Progress | None = None
        self.began = self.said = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def of(self, doing: str, total: int) -> Tell:
        """For something that begins now: what to tell how much of it is done."""
        began, task = monotonic(), None

        def tell(done: int) -> None:
            nonlocal task
            now = monotonic()
            if not self.console.is_terminal:
                if now > self.said + LINE_S:
                    self.said = now
                    echo(f"{doing}: {done:,} of {total:,}, {done / (now - began):,.0f} a second", err=True)
            elif now > self.began + PATIENCE_S:
                bar = self._bar()
                task = bar.add_task(doing, total=total) if task is None else task
                bar.update(task, completed=done)

        return tell

    def _bar(self) -> rich.progress.Progress:
        if self.bar is None:
            columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = rich.progress.Progress(*columns, console=self.console, transient=True)
            self.bar.start()
        return self.bar
