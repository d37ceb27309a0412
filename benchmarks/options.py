"""What a run is told: which figures, how often, how large."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saga_app.settings import Lag

#: In the order in which they are measured and shown.
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
)


#: Of the steps of sagas of which very many are in flight.
LONG = Lag(30, 90)


#: Under this ratio to the aiokafka chain the short run fails, unless told otherwise: the goal.
LEAST = 0.8


@dataclass(frozen=True)
class Options:
    """A run. Rates are sagas a second, times are seconds."""

    only: tuple[str, ...] = FIGURES
    runs: int = 3
    sagas: int = 40_000
    seconds: float = 20.0
    inflight: int = 100_000
    inflight_lag: Lag = LONG
    rows: int = 1_000_000
    json: Path = Path("benchmark.json")
    short: bool = False
    least: float = LEAST

    @property
    def warm(self) -> int:
        """Sagas of the burst before the one that counts: the broker's JVM and our own caches are cold."""
        return max(500, self.sagas // 10)


#: About a minute: `--short`.
SHORT = Options(only=("burst",), runs=2, sagas=4000, short=True)


def read(arguments: Sequence[str] | None = None) -> Options:
    """From the command line."""
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What it costs, beside the others.")
    parser.add_argument(
        "--only", metavar="NAMES", help=f"figures, separated by commas (default: all): {','.join(FIGURES)}"
    )
    parser.add_argument("--runs", type=int, help=f"rounds, each side in turn (default {default.runs})")
    parser.add_argument("--sagas", type=int, help=f"sagas of a burst (default {default.sagas})")
    parser.add_argument("--seconds", type=float, help=f"length of a steady rate (default {default.seconds:g})")
    parser.add_argument("--inflight", type=int, help=f"sagas in flight (default {default.inflight})")
    parser.add_argument(
        "--inflight-lag", metavar="A-B", type=_lag, help=f"their steps' lag (default {default.inflight_lag})"
    )
    parser.add_argument("--rows", type=int, help=f"rows of a full table (default {default.rows})")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"where to write (default {default.json})")
    parser.add_argument(
        "--short", action="store_true", help="about a minute: a burst beside the aiokafka chain; 1 if we are too slow"
    )
    parser.add_argument("--least", type=float, help=f"under this ratio the short run fails (default {LEAST:g})")
    given = vars(parser.parse_args(arguments))
    base = SHORT if given.pop("short") else default
    names = given.pop("only")
    chosen = tuple(names.split(",")) if names else base.only
    if unknown := [name for name in chosen if name not in FIGURES]:
        parser.error(f"--only {','.join(unknown)}: there is {','.join(FIGURES)}")
    values = {name: value for name, value in given.items() if value is not None}
    if any(not isinstance(value, Path | Lag) and value <= 0 for value in values.values()):
        parser.error("numbers are more than 0")
    return Options(**{**vars(base), **values, "only": chosen})


def _lag(text: str) -> Lag:
    least, _, most = text.partition("-")
    return Lag(float(least), float(most or least))
