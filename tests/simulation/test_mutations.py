"""The simulation can fail: code that is broken in any of these ways is caught, and the run that shows it is small."""

import subprocess
import sys

import pytest

from tests.simulation import many_seeds, mutations
from tests.simulation.run import run
from tests.simulation.shrink import shrunk

#: Each must be caught within so many.
SEEDS = range(3000)


@pytest.mark.parametrize("name", sorted(mutations.MUTATIONS))
def test_code_that_is_broken_in_this_way_is_caught(name: str) -> None:
    tally = many_seeds.portion(SEEDS, name, mutations.MUTATIONS[name].parameters)
    assert tally.failed is not None, (
        f"{mutations.MUTATIONS[name].mutate.__doc__}: nobody has noticed in {tally.runs} runs"
    )
    with mutations.active(name):
        wrong = run(*tally.failed).wrong
    assert not [each for each in wrong if "crashed by itself" in each], "the mutation itself is what is broken"


def test_a_failing_run_is_shrunk_and_printed_as_a_command_that_replays_it() -> None:
    name = "mail-not-noted"
    failed = many_seeds.portion(SEEDS, name, {}).failed
    assert failed is not None
    with mutations.active(name):
        result = shrunk(run(*failed))
    assert result.wrong
    assert result.parameters.sagas == 1
    command = f"{result.parameters.command(result.seed)} --mutation {name}".split()
    replayed = subprocess.run([sys.executable, *command[1:]], check=False, capture_output=True, text=True, timeout=60)
    assert replayed.returncode == 1
    assert replayed.stdout.rstrip().endswith(result.wrong[-1])
