"""The command line options of a run: which figures are measured, how often, and at what size."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.other_commit import resolve
from saga_app.settings import Lag

#: The names of all figures, in the order in which they are measured and shown.
FIGURES = (
    "burst",
    "cpu",
    "latency",
    "workers",
    "overhead",
    "trace",
    "inflight",
    "table",
    "recovery",
    "start",
    "console",
    "idle",
)

#: The figure that `--against` adds.
AGAINST = "against"

#: The default lag of each step for `inflight`, long enough that all sagas are in flight at the same time.
INFLIGHT_LAG = Lag(30, 90)

#: The default of `--least`: our throughput in a burst relative to the aiokafka chain.
LEAST_RATIO = 0.5


@dataclass(frozen=True)
class Options:
    """The options of a run. `seconds` is the length of a steady rate; see `--help` for the others."""

    only: tuple[str, ...] = FIGURES
    runs: int = 3
    sagas: int = 40_000
    seconds: float = 20.0
    inflight: int = 100_000
    inflight_lag: Lag = INFLIGHT_LAG
    rows: int = 1_000_000
    json: Path = Path("benchmark.json")
    short: bool = False
    least: float = LEAST_RATIO
    against: str = ""

    @property
    def warm_up(self) -> int:
        """The number of sagas before those that are measured, which warm up the broker's JVM and all caches."""
        return max(500, self.sagas // 10)


#: The defaults with `--short`: about a minute.
SHORT = Options(only=("burst",), runs=2, sagas=4000, short=True)


def read(arguments: Sequence[str] | None = None) -> Options:
    """Parse the command line. Exits with code 2 if an option is invalid."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure this project next to the same services written by hand."
    )
    parser.add_argument(
        "--only", metavar="NAMES", help=f"figures, separated by commas (default: all): {','.join(FIGURES)}"
    )
    parser.add_argument("--runs", type=int, help=f"number of rounds (default {default.runs})")
    parser.add_argument("--sagas", type=int, help=f"sagas in a burst (default {default.sagas})")
    parser.add_argument("--seconds", type=float, help=f"duration of a steady rate (default {default.seconds:g})")
    parser.add_argument("--inflight", type=int, help=f"sagas in flight (default {default.inflight})")
    parser.add_argument(
        "--inflight-lag",
        metavar="A-B",
        type=_lag,
        help=f"lag of their steps (default {default.inflight_lag} s)",
    )
    parser.add_argument("--rows", type=int, help=f"rows in a full table (default {default.rows})")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"output file (default {default.json})")
    parser.add_argument(
        "--short",
        action="store_true",
        help="only a burst next to the aiokafka chain, about a minute; the exit code is 1 below the ratio --least",
    )
    parser.add_argument(
        "--against", metavar="COMMIT", help="measure this state of the project next to a commit of it, and nothing else"
    )
    parser.add_argument("--least", type=float, help=f"lowest ratio that --short accepts (default {LEAST_RATIO:g})")
    given = vars(parser.parse_args(arguments))
    base = SHORT if given.pop("short") else default
    names = given.pop("only")
    chosen = tuple(names.split(",")) if names else () if given["against"] else base.only
    if unknown := [name for name in chosen if name not in FIGURES]:
        parser.error(f"--only: unknown figures {','.join(unknown)}; choose from {','.join(FIGURES)}")
    if given["against"]:
        chosen = (*chosen, AGAINST)
        try:
            resolve(given["against"])
        except ValueError as error:
            parser.error(f"--against: {error}")
    values = {name: value for name, value in given.items() if value is not None}
    if any(isinstance(value, int | float) and value <= 0 for value in values.values()):
        parser.error("numbers must be greater than 0")
    return Options(**{**vars(base), **values, "only": chosen})


def _lag(text: str) -> Lag:
    least, _, most = text.partition("-")
    return Lag(float(least), float(most or least))
