"""What every figure is handed, and how sides take turns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from subprocess import SubprocessError
from typing import Any

import psutil
from confluent_kafka import KafkaException

from benchmarks.measure import Figures
from benchmarks.numbers import middle
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.report import Line, Report

#: Told how far it is.
More = Callable[[str], None]

#: Measures one side once, from its start to its end.
Trial = Callable[[More], Figures]

#: What a trial may fail with: then it counts as nothing.
FAILURES = (
    RuntimeError,
    AssertionError,
    OSError,
    ValueError,
    KeyError,
    KafkaException,
    psutil.Error,
    SubprocessError,
)


@dataclass(frozen=True)
class Rounds:
    """What each side came to in each round."""

    found: Mapping[str, list[Figures]]

    def of(self, side: str, figure: str) -> list[float | None]:
        """One figure of a side, round by round; None where it failed."""
        return [figures.get(figure) for figures in self.found[side]]

    def middle(self, side: str, figure: str) -> float | None:
        """Its median."""
        return middle(self.of(side, figure))


@dataclass
class Context:
    """The run."""

    options: Options
    progress: Progress
    report: Report

    def alternate(self, name: str, trials: Mapping[str, Trial]) -> Rounds:
        """Each side in turn, as often as there are rounds."""
        found: dict[str, list[Figures]] = {side: [] for side in trials}
        for number in range(1, self.options.runs + 1):
            for side, trial in trials.items():
                what = f"{name}, {side}, round {number} of {self.options.runs}"
                found[side].append(self.attempt(what, trial))
        self.report.rounds[name] = {side: [_small(each) for each in rounds] for side, rounds in found.items()}
        return Rounds(found)

    def attempt(self, what: str, trial: Trial) -> Figures:
        """One trial; a failure is told and counts as nothing."""
        try:
            with self.progress.doing(what) as more:
                figures = trial(more)
        except FAILURES as error:
            self.report.failures.append(f"{what}: {error}")
            self.progress.say(f"{what} FAILED: {error}", "red")
            return {"failed": str(error), "sagas_per_s": 0.0}
        self.progress.say(f"{what}: {_told(figures)}")
        return figures

    def add(self, *lines: Line) -> None:
        """To the table."""
        self.report.lines.extend(lines)


def _small(figures: Figures) -> dict[str, Any]:
    """What is worth keeping of a round."""
    return {name: value for name, value in figures.items() if not isinstance(value, dict) or len(value) < 20}


def _told(figures: Figures) -> str:
    numbers = ((name, value) for name, value in figures.items() if isinstance(value, float | int))
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers)
