"""What the documents draw is what the plan says."""

from pathlib import Path

from saga_app.saga.flow_diagram import attempt_times, flow_diagram, retry_table
from saga_app.saga.onboarding import FOLLOW_UP, MAIL, ONBOARDING

ROOT = Path(__file__).parents[2]


def test_the_picture_names_every_topic_of_the_plan_in_order() -> None:
    there, _, back = flow_diagram(ONBOARDING).splitlines()
    places = [there.index(f" {step.topic} ") for step in ONBOARDING.steps]
    assert places == sorted(places)
    assert all(undo.topic in back for undo in ONBOARDING.compensations)


def test_the_readme_shows_the_picture_that_the_code_prints() -> None:
    for line in flow_diagram(ONBOARDING).splitlines():
        assert line in (ROOT / "README.md").read_text("utf-8")


def test_the_operating_page_states_the_patience_of_every_step() -> None:
    assert retry_table(ONBOARDING) in (ROOT / "docs" / "reference" / "retries-and-deadlines.md").read_text("utf-8")


def test_the_page_on_mail_retries_states_the_schedule_and_the_reach() -> None:
    page = (ROOT / "docs" / "reference" / "retries-and-deadlines.md").read_text("utf-8")
    for retry in (MAIL, FOLLOW_UP):
        assert f"{attempt_times(retry)} s" in page
        assert f"{retry.reach:g} s" in page
        assert f"{retry.budget:g} s" in page
