"""The diagrams and tables in the documents agree with the plan."""

from pathlib import Path

from saga_app.saga.flow_diagram import attempt_times, flow_diagram, retry_table
from saga_app.saga.onboarding import FOLLOW_UP, MAIL, ONBOARDING

ROOT = Path(__file__).parents[2]
RETRIES = ROOT / "docs" / "reference" / "retries-and-deadlines.md"


def test_the_diagram_names_every_topic_of_the_plan_in_order() -> None:
    forward, _, back = flow_diagram(ONBOARDING).splitlines()
    places = [forward.index(f" {step.topic} ") for step in ONBOARDING.steps]
    assert places == sorted(places)
    assert all(compensation.topic in back for compensation in ONBOARDING.compensations)


def test_the_readme_shows_the_diagram_of_the_plan() -> None:
    for line in flow_diagram(ONBOARDING).splitlines():
        assert line in (ROOT / "README.md").read_text("utf-8")


def test_the_documents_state_the_retries_of_every_step() -> None:
    assert retry_table(ONBOARDING) in RETRIES.read_text("utf-8")


def test_the_documents_state_the_schedule_and_reach_of_mail_retries() -> None:
    page = RETRIES.read_text("utf-8")
    for retry in (MAIL, FOLLOW_UP):
        assert f"{attempt_times(retry)} s" in page
        assert f"{retry.reach:g} s" in page
        assert f"{retry.budget:g} s" in page
