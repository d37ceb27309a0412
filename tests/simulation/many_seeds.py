"""Many seeds in several processes: what happened in all of them, and the first that fails."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from time import process_time
from typing import Any

from tests.simulation import mutations
from tests.simulation.parameters import Parameters, drawn
from tests.simulation.run import run

#: A seed that fails, and what it brings.
Failed = tuple[int, Parameters]
#: Seeds that a process gets at once.
PORTION = 50


@dataclass(slots=True)
class Tally:
    """Of some runs: `failed` is the first that did, `seconds` is processor time."""

    runs: int = 0
    seconds: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    failed: Failed | None = None

    def add(self, other: "Tally") -> None:
        self.runs += other.runs
        self.seconds += other.seconds
        self.happened.update(other.happened)
        self.failed = self.failed or other.failed


def portion(seeds: Sequence[int], mutation: str | None, named: Mapping[str, Any]) -> Tally:
    """Some seeds in this process, until one fails."""
    tally, began = Tally(), process_time()
    with mutations.active(mutation):
        for seed in seeds:
            parameters = drawn(seed, **named)
            result = run(seed, parameters)
            tally.runs += 1
            tally.happened.update(result.happened)
            if result.wrong:
                tally.failed = seed, parameters
                break
    tally.seconds = process_time() - began
    return tally


def play(
    seeds: range,
    jobs: int = 2,
    mutation: str | None = None,
    named: Mapping[str, Any] | None = None,
    progress: Callable[[Tally], None] = lambda _tally: None,
) -> Tally:
    """All of them, or all until one fails."""
    whole = Tally()
    portions = [seeds[start : start + PORTION] for start in range(0, len(seeds), PORTION)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(portion, some, mutation, named or {}) for some in portions]
        for done in runs:
            whole.add(done.result())
            progress(whole)
            if whole.failed:
                pool.shutdown(cancel_futures=True)
                break
    return whole
