"""The command-line options of a run, and the settings that follow from them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The part of a run, after the faults, in which the sagas end and the result is checked (seconds).
SETTLE_S = 75.0


@dataclass(frozen=True)
class Options:
    """See `parse_options()`."""

    sagas: int = 10_000
    minutes: float = 8.0
    seed: int = 1
    json: Path | None = None
    keep: Path | None = None

    @property
    def fault_phase_s(self) -> float:
        """How long users are sent and faults are injected (seconds)."""
        return max(self.minutes * 60 - SETTLE_S, self.minutes * 30)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the services: short lags, failures, denials, and a deadline that sagas miss during faults."""
        return {
            "lag": "0-0.3",
            "seed": self.seed,
            "flaky_rate": 0.05,
            "error_rate": 0.005,
            "deny_rate": 0.02,
            "deadline": 20,
            "store": "rocksdb://",
        }


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Parse the command line."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Inject many faults into services on a real Kafka, then check the outcome of every saga.",
    )
    parser.add_argument(
        "--sagas", type=int, default=default.sagas, help=f"the number of users (default: {default.sagas})"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=default.minutes,
        help=f"the approximate duration (default: {default.minutes:g})",
    )
    parser.add_argument(
        "--seed", type=int, default=default.seed, help="the seed of the faults and of all random numbers (default: 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scoreboard to FILE as JSON")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs and data in DIR, even if all checks pass")
    given = parser.parse_args(arguments)
    if given.sagas < 1:
        parser.error("--sagas must be at least 1")
    if given.minutes <= 0:
        parser.error("--minutes must be greater than 0")
    return Options(given.sagas, given.minutes, given.seed, given.json, given.keep)
