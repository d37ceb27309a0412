"""Many runs of all services, each with its own misfortunes: every saga ends as it must."""

import sys

import pytest

from tests.simulation import many_seeds
from tests.simulation.counts import WHAT
from tests.simulation.run import run
from tests.simulation.shrink import shrunk

#: `make simulate` plays ten thousand.
SEEDS = range(1_000)


@pytest.mark.timeout(900)
def test_every_saga_ends_once_as_it_must_whatever_is_duplicated_late_killed_redriven_or_rolled_back() -> None:
    tally = many_seeds.play(SEEDS)
    if tally.failed is not None:
        pytest.fail(explained(tally.failed))
    assert tally.runs == len(SEEDS)
    assert not {what for what in WHAT if not tally.happened[what]}, "what never happens is not tested"
    print(f"{tally.seconds / tally.runs * 1000:.1f} ms a run", dict(tally.happened), file=sys.stderr)


def explained(failed: many_seeds.Failed) -> str:
    """What is wrong with the smallest run that shows it, and the command that replays it."""
    result = shrunk(run(*failed))
    return "\n".join([*result.wrong, f"replay it: {result.parameters.command(result.seed)}"])
