"""What a run is told: how many sagas, how long, which dice."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: At the end of a run: time to come to rest, part of the minutes asked for (seconds).
REST_S = 75.0


@dataclass(frozen=True)
class Options:
    """A run."""

    sagas: int = 10_000
    minutes: float = 8.0
    seed: int = 1
    json: Path | None = None
    keep: Path | None = None

    @property
    def storm_s(self) -> float:
        """How long users come and things break (seconds)."""
        return max(self.minutes * 60 - REST_S, self.minutes * 30)

    @property
    def settings(self) -> dict[str, Any]:
        """Of the services: quick steps that fail and say no, and a deadline that is missed when things break."""
        return {
            "lag": "0-0.3",
            "seed": self.seed,
            "flaky_rate": 0.05,
            "error_rate": 0.005,
            "deny_rate": 0.02,
            "deadline": 20,
            "store": "rocksdb://",
        }


def read(arguments: Sequence[str] | None = None) -> Options:
    """From the command line."""
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos on a real Kafka, then a count.")
    parser.add_argument("--sagas", type=int, default=default.sagas, help=f"how many users (default {default.sagas})")
    parser.add_argument(
        "--minutes", type=float, default=default.minutes, help=f"about how long it takes (default {default.minutes:g})"
    )
    parser.add_argument("--seed", type=int, default=default.seed, help="of all dice: the same misfortunes again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scoreboard there, too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs and data there, whatever comes out")
    given = parser.parse_args(arguments)
    if given.sagas < 1 or given.minutes <= 0:
        parser.error("at least one saga, and some time")
    return Options(given.sagas, given.minutes, given.seed, given.json, given.keep)
