"""Runs many seeds in several processes, counts events, and finds a seed that fails."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from time import process_time

from tests.simulation import mutations
from tests.simulation.parameters import Parameters, draw_parameters
from tests.simulation.run import run

#: A seed that fails, and its parameters.
FailedRun = tuple[int, Parameters]

SEEDS_PER_TASK = 50


@dataclass(slots=True)
class Tally:
    """The sum of some runs. `failed`: the first run with violations. `cpu_s`: processor time in seconds."""

    runs: int = 0
    cpu_s: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    failed: FailedRun | None = None

    def add(self, other: "Tally") -> None:
        self.runs += other.runs
        self.cpu_s += other.cpu_s
        self.events.update(other.events)
        self.failed = self.failed or other.failed


def run_seeds(seeds: Sequence[int], mutation: str | None, overrides: Mapping[str, float]) -> Tally:
    """Run seeds in this process until one fails. `overrides`: parameters that replace those drawn from the seed."""
    tally, began = Tally(), process_time()
    with mutations.active(mutation):
        for seed in seeds:
            parameters = draw_parameters(seed, **overrides)
            result = run(seed, parameters)
            tally.runs += 1
            tally.events.update(result.events)
            if result.violations:
                tally.failed = seed, parameters
                break
    tally.cpu_s = process_time() - began
    return tally


def run_in_processes(
    seeds: range,
    jobs: int = 2,
    mutation: str | None = None,
    overrides: Mapping[str, float] | None = None,
    on_progress: Callable[[Tally], None] = lambda _tally: None,
) -> Tally:
    """Run seeds in `jobs` processes until one fails; `on_progress` gets the tally so far."""
    total = Tally()
    chunks = [seeds[start : start + SEEDS_PER_TASK] for start in range(0, len(seeds), SEEDS_PER_TASK)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(run_seeds, chunk, mutation, overrides or {}) for chunk in chunks]
        for task in tasks:
            total.add(task.result())
            on_progress(total)
            if total.failed:
                pool.shutdown(cancel_futures=True)
                break
    return total
