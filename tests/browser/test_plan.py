"""The page draws the plan that the console returns: two to eight steps, whatever their names are."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from tests.browser.conftest import DESKTOP, get
from tests.browser.test_care import PHONE
from tests.browser.user import SAGA_MS, User

LABELS = ("Identity provider", "Payroll", "Facilities", "Library")


@pytest.fixture
def visit_with(visit: Callable[..., User], shared_system: System) -> Callable[..., User]:
    """Open the page as if the console returned another plan."""

    def open_page(plan: dict[str, Any], **options: Any) -> User:
        user = visit(shared_system.url, "page/icon.svg", trace="on", **options)
        user.page.route("**/api/plan", lambda route: route.fulfill(json=plan))
        user.page.goto(shared_system.url)
        return user.connected()

    return open_page


def longer(plan: dict[str, Any], count: int) -> dict[str, Any]:
    """The plan with `count` steps: the new ones are before the last."""
    none = {"fact": None, "fact_label": None, "fact_shown_as": None, "compensation": None}
    new = [{**plan["steps"][1], **none, "name": f"step-{n}", "label": LABELS[n]} for n in range(count - 4)]
    return {**plan, "steps": [*plan["steps"][:-1], *new, plan["steps"][-1]]}


def renamed(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with other names for all steps."""
    steps = [{**step, "name": f"other-{step['name']}", "compensation": None, "fact": None} for step in plan["steps"]]
    return {**plan, "steps": steps, "compensations": []}


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("count", [5, 6, 8])
def test_there_is_a_station_and_a_lane_for_each_step(
    visit_with: Callable[..., User], shared_system: System, count: int, viewport: Any
) -> None:
    user = visit_with(longer(get(shared_system, "/api/plan"), count), viewport=viewport)
    stations = user.page.get_by_role("list", name="Stations").get_by_role("listitem")
    expect(stations).to_have_count(count)
    labels = ["Provisioner", "Authorizer", "Notifier", *LABELS[: count - 4], "Provisioner"]
    assert stations.locator(".label").all_text_contents() == labels
    assert stations.first.locator(".label").evaluate("e => e.clientWidth > 1") == (viewport == DESKTOP or count < 6)
    id = user.press_new_user()
    expect(user.row(id).locator(".stop")).to_have_count(count)
    user.sees_arrival(id)
    assert not user.scrolls_sideways()


def test_a_saga_of_another_plan_is_shown_with_the_names_of_its_steps(
    visit_with: Callable[..., User], shared_system: System
) -> None:
    user = visit_with(renamed(get(shared_system, "/api/plan")))
    id = user.press_new_user()
    expect(user.row(id).locator(".lane-0 .fact")).to_have_text("provision", timeout=SAGA_MS)
    user.sees_arrival(id)
    user.page.evaluate("id => location.hash = `#/sagas/${id}`", id)
    for words in ("Authorize requested", "Authorize done", "Saga completed"):
        expect(user.drawer().locator(".timeline")).to_contain_text(words, timeout=SAGA_MS)


def test_the_page_waits_for_a_console_that_does_not_return_the_plan(
    visit: Callable[..., User], shared_system: System
) -> None:
    asked: list[Route] = []

    def answer(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.abort()
        elif len(asked) == 2:
            route.fulfill(status=502, body="")
        else:
            route.continue_()

    user = visit(shared_system.url, "page/icon.svg")
    user.page.route("**/api/plan", answer)
    user.page.goto(shared_system.url)
    message = user.page.locator("main [role=status]")
    expect(message).to_contain_text("The console cannot be reached")
    expect(message).to_contain_text("Unexpected response")
    user.connected()
    expect(message.filter(has_text="Unexpected")).to_have_count(0)
    user.sees_arrival(user.press_new_user())
