"""The scoreboard: a table for people, JSON for programs, and whether it is good."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from devtools.audit_command import Audit
from tests.chaos.fault_log import Fault
from tests.chaos.progress_watch import Stall
from tests.chaos.verdict import Verdict

#: So many of each kind are named.
NAMED = 5


@dataclass(frozen=True)
class Scoreboard:
    """Everything that is to be said about a run."""

    options: dict[str, Any]
    accepted: int
    took_s: float
    storm_s: float
    reckoning: Verdict
    still: Stall
    still_during: list[Fault]
    absorbed: int
    forwarded: int
    misfortunes: dict[str, int]
    noise: dict[str, int]
    operator: dict[str, int]
    mails: int
    console_wrong: list[str]
    audit: Audit
    failures: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> dict[str, list[Any]]:
        """What must be empty, by its name."""
        found = self.reckoning
        return {
            "lost": found.lost,
            "ended twice": found.ended_twice,
            "stuck unflagged": found.unflagged,
            "mailed twice, unexplained": [asdict(each) for each in found.unexplained],
            "onboarded without a mail": found.never_mailed,
            "welcomed, rolled back, never told": found.never_told,
            "told the wrong thing last": found.told_wrong,
            "garbage without a dead letter": found.garbage_lost,
            "sagas that nobody asked for": found.unasked,
            "shown otherwise by the console": self.console_wrong,
            "audit": self.audit.findings or ([] if self.audit.clean else [self.audit.said]),
            "failures of the run itself": self.failures,
        }

    @property
    def good(self) -> bool:
        return not any(self.wrong.values())

    def lines(self) -> Iterator[tuple[str, str, bool]]:
        """What, how much, and whether that is all right."""
        found, wrong = self.reckoning, self.wrong
        states = ", ".join(f"{state} {count}" for state, count in sorted(found.states.items()))
        yield "sagas accepted", f"{self.accepted} ({states})", True
        for name in ("lost", "ended twice"):
            yield name, str(len(wrong[name])), not wrong[name]
        yield "mailed twice", f"{len(found.twice)} of {self.mails} mails", not found.unexplained
        for why, times in found.reasons.items():
            yield f"  {why}", str(times), why != "unexplained"
        yield "  (a mail at any time would be explained)", f"{found.by_chance:.0%}", True
        for name in list(wrong)[3:-2]:
            yield name, str(len(wrong[name])), not wrong[name]
        if found.told_late:
            yield "welcomed after they were told that it is off, explained", str(len(found.told_late)), True
        yield "stuck unflagged", str(len(wrong["stuck unflagged"])), not wrong["stuck unflagged"]
        yield "duplicates absorbed", f"{self.absorbed}; {self.forwarded} sent on to their partition", True
        during = f" ({', '.join(map(str, self.still_during[:NAMED]))})" if self.still_during else ""
        yield "longest time a partition stood still", f"{self.still}{during}", True
        yield "misfortunes", _counts(self.misfortunes), True
        yield "injected", _counts(self.noise), True
        yield "operator", _counts(self.operator), True
        yield "audit", str(self.audit), self.audit.clean
        yield "took", f"{self.took_s:.0f} s, of which {self.storm_s:.0f} s storm", True
        if self.failures:
            yield "failures of the run itself", str(len(self.failures)), False

    def show(self) -> None:
        """For people."""
        console = Console(highlight=False, width=150)
        table = Table(title=f"chaos: {self.options}", show_header=False)
        for name, value, fine in self.lines():
            table.add_row(name, value, style=None if fine else "bold red")
        console.print(table)
        for name, found in self.wrong.items():
            for what in found[:NAMED]:
                console.print(f"  {name}: {what}", style="red", markup=False)
        console.print("nothing lost" if self.good else "IT DOES NOT ADD UP", style="bold green" if self.good else "red")

    def json(self) -> dict[str, Any]:
        """For programs; ids whole."""
        shown = asdict(self) | {"good": self.good, "wrong": self.wrong}
        shown["still_during"] = [str(entry) for entry in self.still_during]
        return shown


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
