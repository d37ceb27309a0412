"""The state of a benchmark run, and the rounds in which the implementations alternate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from subprocess import SubprocessError
from typing import Any

import psutil
from confluent_kafka import KafkaException

from benchmarks.options import Options
from benchmarks.progress import Progress, Update
from benchmarks.report import Line, Report
from benchmarks.statistics import median_of_known
from benchmarks.workloads import Figures

#: Measures one implementation once, from its start to its end.
Trial = Callable[[Update], Figures]

#: Errors that fail a trial without ending the run.
TRIAL_ERRORS = (
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
    """The figures of each implementation in each round, by the name of the implementation."""

    figures: Mapping[str, list[Figures]]

    def of(self, name: str, figure: str) -> list[float | None]:
        """One figure of an implementation in each round; None for rounds in which it was not measured."""
        return [figures.get(figure) for figures in self.figures[name]]

    def median(self, name: str, figure: str) -> float | None:
        """The median of one figure over all rounds; None if it was never measured."""
        return median_of_known(self.of(name, figure))


@dataclass
class Context:
    """What every figure needs: the options, the progress display and the report."""

    options: Options
    progress: Progress
    report: Report

    def alternate(self, figure: str, trials: Mapping[str, Trial]) -> Rounds:
        """Run the trial of each implementation in turn, for the number of rounds in the options."""
        figures: dict[str, list[Figures]] = {name: [] for name in trials}
        for number in range(1, self.options.runs + 1):
            for name, trial in trials.items():
                title = f"{figure}, {name}, round {number} of {self.options.runs}"
                figures[name].append(self.attempt(title, trial))
        self.report.rounds[figure] = {name: list(map(_without_details, rounds)) for name, rounds in figures.items()}
        return Rounds(figures)

    def attempt(self, title: str, trial: Trial) -> Figures:
        """Run one trial. If it fails, report the failure and return a throughput of 0."""
        try:
            with self.progress.task(title) as update:
                figures = trial(update)
        except TRIAL_ERRORS as error:
            self.report.failures.append(f"{title}: {error}")
            self.progress.print(f"{title} FAILED: {error}", "red")
            return {"failed": str(error), "sagas_per_s": 0.0}
        self.progress.print(f"{title}: {_summary(figures)}")
        return figures

    def add(self, *lines: Line) -> None:
        """Add lines to the table of the report."""
        self.report.lines.extend(lines)


def _without_details(figures: Figures) -> dict[str, Any]:
    """The figures without the start and end times of each saga."""
    return {name: value for name, value in figures.items() if not isinstance(value, dict) or len(value) < 20}


def _summary(figures: Figures) -> str:
    numbers = ((name, value) for name, value in figures.items() if isinstance(value, float | int))
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers)
