"""The page shows the plan that the console returns, with any number of steps from two to eight and any names."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from tests.browser.console_api import get
from tests.browser.user import SAGA_TIMEOUT_MS, User
from tests.browser.viewports import DESKTOP, PHONE

#: Labels of the services of additional steps.
LABELS = ("Identity provider", "Payroll", "Facilities", "Library")


@pytest.fixture
def visit_with_plan(visit: Callable[..., User], shared_system: System) -> Callable[..., User]:
    """Return a function that opens the page with a given plan in place of the console's."""

    def open_page(plan: dict[str, Any], **options: Any) -> User:
        user = visit(shared_system.url, "page/icon.svg", trace="on", **options)
        user.page.route("**/api/plan", lambda route: route.fulfill(json=plan))
        user.page.goto(shared_system.url)
        return user.wait_for_connection()

    return open_page


def extended_plan(plan: dict[str, Any], count: int) -> dict[str, Any]:
    """The plan with `count` steps; new ones are inserted before the last."""
    none = {"fact": None, "fact_label": None, "fact_shown_as": None, "compensation": None}
    new = [{**plan["steps"][1], **none, "name": f"step-{n}", "label": LABELS[n]} for n in range(count - 4)]
    return {**plan, "steps": [*plan["steps"][:-1], *new, plan["steps"][-1]]}


def renamed_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with other names for all steps, without compensations."""
    steps = [{**step, "name": f"other-{step['name']}", "compensation": None, "fact": None} for step in plan["steps"]]
    return {**plan, "steps": steps, "compensations": []}


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("count", [5, 6, 8])
def test_there_is_a_station_and_a_lane_for_each_step(
    visit_with_plan: Callable[..., User], shared_system: System, count: int, viewport: Any
) -> None:
    user = visit_with_plan(extended_plan(get(shared_system, "/api/plan"), count), viewport=viewport)
    stations = user.page.get_by_role("list", name="Stations").get_by_role("listitem")
    expect(stations).to_have_count(count)
    labels = ["Provisioner", "Authorizer", "Notifier", *LABELS[: count - 4], "Provisioner"]
    assert stations.locator(".label").all_text_contents() == labels
    assert stations.first.locator(".label").evaluate("e => e.clientWidth > 1") == (viewport == DESKTOP or count < 6)
    id = user.press_new_user()
    expect(user.row(id).locator(".stop")).to_have_count(count)
    user.wait_for_arrival(id)
    assert not user.scrolls_sideways()


def test_a_saga_of_another_plan_is_shown_with_its_own_step_names(
    visit_with_plan: Callable[..., User], shared_system: System
) -> None:
    user = visit_with_plan(renamed_plan(get(shared_system, "/api/plan")))
    id = user.press_new_user()
    expect(user.row(id).locator(".lane-0 .fact")).to_have_text("provision", timeout=SAGA_TIMEOUT_MS)
    user.wait_for_arrival(id)
    user.page.evaluate("id => location.hash = `#/sagas/${id}`", id)
    for text in ("Authorize requested", "Authorize done", "Saga completed"):
        expect(user.drawer().locator(".timeline")).to_contain_text(text, timeout=SAGA_TIMEOUT_MS)


def test_the_page_retries_until_the_console_returns_the_plan(visit: Callable[..., User], shared_system: System) -> None:
    requests: list[Route] = []

    def answer(route: Route) -> None:
        requests.append(route)
        if len(requests) == 1:
            route.abort()
        elif len(requests) == 2:
            route.fulfill(status=502, body="")
        else:
            route.continue_()

    user = visit(shared_system.url, "page/icon.svg")
    user.page.route("**/api/plan", answer)
    user.page.goto(shared_system.url)
    message = user.page.locator("main [role=status]")
    expect(message).to_contain_text("The console cannot be reached")
    expect(message).to_contain_text("Unexpected response")
    user.wait_for_connection()
    expect(message.filter(has_text="Unexpected")).to_have_count(0)
    user.wait_for_arrival(user.press_new_user())
