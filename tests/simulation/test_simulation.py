"""Runs all services with many seeds, each with its own faults, and checks every saga."""

import sys

import pytest

from tests.simulation import many_seeds
from tests.simulation.counts import EXPECTED_EVENTS
from tests.simulation.run import run
from tests.simulation.shrink import shrink

#: `make simulate` runs ten thousand.
SEEDS = range(1_000)


@pytest.mark.timeout(900)
def test_every_saga_ends_in_the_expected_state_despite_faults() -> None:
    tally = many_seeds.run_in_processes(SEEDS)
    if tally.failed is not None:
        pytest.fail(describe_failure(tally.failed))
    assert tally.runs == len(SEEDS)
    assert not {event for event in EXPECTED_EVENTS if not tally.events[event]}, "these events never occurred"
    print(f"{tally.cpu_s / tally.runs * 1000:.1f} ms of processor time per run", dict(tally.events), file=sys.stderr)


def describe_failure(failed: many_seeds.FailedRun) -> str:
    """The violations of the smallest run that fails in the same way, and the command that replays it."""
    result = shrink(run(*failed))
    return "\n".join([*result.violations, f"replay: {result.parameters.replay_command(result.seed)}"])
