"""The result of a run: as a table, as JSON, and whether all checks passed."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from devtools.audit_command import Audit
from tests.chaos.fault_log import Fault
from tests.chaos.progress_watch import Stall
from tests.chaos.verdict import Verdict

#: The largest number of examples that are printed for a problem.
MAX_EXAMPLES = 5

UNFLAGGED, TEST_FAILURES = "late without a flag", "failures of the test itself"

#: The problems that have their own place in the table.
PLACED_PROBLEMS = ("lost", "ended twice", UNFLAGGED, "audit", TEST_FAILURES)


class Line(NamedTuple):
    """A line of the table. `is_good`: False for a failed check."""

    label: str
    value: str
    is_good: bool = True


@dataclass(frozen=True)
class Scoreboard:
    """The figures of a run, and the verdict on its sagas."""

    options: dict[str, Any]
    accepted: int
    duration_s: float
    fault_phase_s: float
    verdict: Verdict
    longest_stall: Stall
    faults_during_stall: list[Fault]
    absorbed: int
    forwarded: int
    faults: dict[str, int]
    noise: dict[str, int]
    operator: dict[str, int]
    mails: int
    differing_in_console: list[str]
    audit: Audit
    failures: list[str] = field(default_factory=list)

    @property
    def problems(self) -> dict[str, list[Any]]:
        """The failed checks by label; all lists are empty in a good run."""
        verdict = self.verdict
        return {
            "lost": verdict.lost,
            "ended twice": verdict.ended_twice,
            UNFLAGGED: verdict.unflagged,
            "mailed twice, unexplained": [asdict(each) for each in verdict.unexplained_repeats],
            "onboarded without a mail": verdict.without_welcome,
            "rolled back without a follow-up mail": verdict.without_follow_up,
            "wrong last mail": verdict.wrong_last_mail,
            "garbage without a dead letter": verdict.garbage_without_letter,
            "sagas that were not requested": verdict.not_requested,
            "shown differently by the console": self.differing_in_console,
            "audit": self.audit.findings or ([] if self.audit.clean else [self.audit.output]),
            TEST_FAILURES: self.failures,
        }

    @property
    def is_good(self) -> bool:
        return not any(self.problems.values())

    def lines(self) -> Iterator[Line]:
        verdict, problems = self.verdict, self.problems
        states = ", ".join(f"{state} {count}" for state, count in sorted(verdict.states.items()))
        yield Line("sagas accepted", f"{self.accepted} ({states})")
        yield self._problem_line("lost")
        yield self._problem_line("ended twice")
        repeats = f"{len(verdict.repeated_mails)} of {self.mails} mails"
        yield Line("mailed twice", repeats, not verdict.unexplained_repeats)
        for reason, count in verdict.repeats_by_reason.items():
            yield Line(f"  {reason}", str(count), reason != "unexplained")
        yield Line("  (chance that a repeat is explained)", f"{verdict.chance_of_explanation:.0%}")
        for label in problems:
            if label not in PLACED_PROBLEMS:
                yield self._problem_line(label)
        if verdict.late_welcome:
            yield Line("welcome mail after the follow-up, explained", str(len(verdict.late_welcome)))
        yield self._problem_line(UNFLAGGED)
        yield Line("duplicates absorbed", f"{self.absorbed}; {self.forwarded} forwarded to their partition")
        during = ", ".join(map(str, self.faults_during_stall[:MAX_EXAMPLES]))
        yield Line("longest stall of a partition", f"{self.longest_stall}{f' ({during})' if during else ''}")
        yield Line("faults", _format_counts(self.faults))
        yield Line("unexpected records", _format_counts(self.noise))
        yield Line("operator actions", _format_counts(self.operator))
        yield Line("audit", str(self.audit), self.audit.clean)
        yield Line("duration", f"{self.duration_s:.0f} s, including {self.fault_phase_s:.0f} s with faults")
        if self.failures:
            yield self._problem_line(TEST_FAILURES)

    def _problem_line(self, label: str) -> Line:
        found = self.problems[label]
        return Line(label, str(len(found)), not found)

    def print_table(self) -> None:
        """Print the table, and examples of each problem."""
        console = Console(highlight=False, width=150)
        table = Table(title=f"chaos: {self.options}", show_header=False)
        for line in self.lines():
            table.add_row(line.label, line.value, style=None if line.is_good else "bold red")
        console.print(table)
        for label, found in self.problems.items():
            for example in found[:MAX_EXAMPLES]:
                console.print(f"  {label}: {example}", style="red", markup=False)
        if self.is_good:
            console.print("all checks passed", style="bold green")
        else:
            console.print("checks failed", style="bold red")

    def to_json(self) -> dict[str, Any]:
        """All figures, and the complete list of each problem."""
        result = asdict(self) | {"good": self.is_good, "problems": self.problems}
        result["faults_during_stall"] = [str(fault) for fault in self.faults_during_stall]
        return result


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
