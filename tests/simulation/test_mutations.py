"""The simulation detects bugs: it fails for each injected bug, and reduces the failing run."""

import subprocess
import sys

import pytest

from tests.simulation import many_seeds, mutations
from tests.simulation.run import run
from tests.simulation.shrink import shrink

#: The seeds of which one must detect the bug.
SEEDS = range(3000)


@pytest.mark.parametrize("name", sorted(mutations.MUTATIONS))
def test_an_injected_bug_is_detected(name: str) -> None:
    tally = many_seeds.run_seeds(SEEDS, name, mutations.MUTATIONS[name].parameters)
    assert tally.failed is not None, f"not detected in {tally.runs} runs: {mutations.MUTATIONS[name].mutate.__doc__}"
    with mutations.active(name):
        violations = run(*tally.failed).violations
    assert not [violation for violation in violations if "unexpected" in violation], "the mutation itself fails"


def test_a_failing_run_is_reduced_and_printed_as_a_replay_command() -> None:
    name = "results-not-recorded"
    failed = many_seeds.run_seeds(SEEDS, name, {}).failed
    assert failed is not None
    with mutations.active(name):
        result = shrink(run(*failed))
    assert result.violations
    assert result.parameters.sagas == 1
    command = f"{result.parameters.replay_command(result.seed)} --mutation {name}".split()
    replayed = subprocess.run([sys.executable, *command[1:]], check=False, capture_output=True, text=True, timeout=60)
    assert replayed.returncode == 1
    assert replayed.stdout.rstrip().endswith(result.violations[-1])
