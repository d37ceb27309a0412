"""The setting SAGA_PLAN selects the plan; an invalid value ends the process with a message of one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from saga_app import active_plan
from saga_app.saga.onboarding import ONBOARDING

EXAMPLE = Path(__file__).parents[2] / "examples" / "training"


def test_the_default_plan_is_the_onboarding() -> None:
    assert active_plan.load({}) is active_plan.load({"SAGA_PLAN": ""}) is ONBOARDING


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("training", "allowed: package.module:NAME"),
        ("no.such.module:PLAN", "cannot be loaded (ModuleNotFoundError"),
        ("saga_app.saga.onboarding:NOTHING", "cannot be loaded (AttributeError"),
        ("saga_app.saga.retry:MAX_HELD_DELAY_S", "it is a float; allowed: package.module:NAME of a Plan"),
    ],
)
def test_a_plan_that_cannot_be_loaded_is_reported_in_one_line(
    reference: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        active_plan.load({"SAGA_PLAN": reference})
    lines = capsys.readouterr().err.splitlines()
    assert (ended.value.code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"SAGA_PLAN={reference} ")
    assert problem in lines[0]


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the example's plan importable, and only these environment variables."""
    env = {"PYTHONPATH": str(EXAMPLE), "PATH": "", **variables}
    return subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_topics_groups_and_ports_are_derived_from_the_plan() -> None:
    code = (
        "from saga_app.active_plan import *; from saga_app.settings import Settings; "
        "print(READS['trainer'], EFFECTS_CHANGELOGS['trainer'], Settings().port('trainer'))"
    )
    done = run_python("-c", code, SAGA_PLAN="training.plan:TRAINING")
    assert done.stdout == "('train', 'untrain') trainer-effects-changelog 6068\n", done.stderr


def test_a_worker_of_an_unknown_service_is_refused() -> None:
    done = run_python("-m", "saga_app", "worker", "trainer")
    assert done.returncode == 2
    assert "has no service trainer; it has provisioner, authorizer, notifier, console" in done.stderr
