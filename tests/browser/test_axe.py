"""axe-core: every tab with data, light and dark, meets WCAG 2.2 A and AA and the best practices that axe checks."""

import re
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any, Literal

import pytest
from playwright.sync_api import expect

from devtools.system import System
from tests.browser.user import User
from tests.browser.viewports import DESKTOP, PHONE
from tests.browser.views import VIEWS, open_view

AXE = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
#: axe does not check target-size by default.
OPTIONS = {
    "runOnly": {"type": "tag", "values": TAGS},
    "rules": {"target-size": {"enabled": True}},
    "resultTypes": ["violations"],  # reported in full; takes less than half the time of reporting everything
}

VIEWPORTS = {"desktop": DESKTOP, "phone": PHONE}


def violations(user: User) -> list[str]:
    """The violations that axe finds in the current state of the page, each with up to five elements."""
    if not user.page.evaluate("'axe' in window"):
        user.page.evaluate(AXE)
    result: Any = user.page.evaluate("options => axe.run(document, options)", OPTIONS)
    assert result["passes"], "axe checked no rule"
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes'][:5]]}" for rule in result["violations"]]


def open_redrive_dialog(user: User, system: System) -> None:
    """Open the confirmation dialog of a bulk redrive."""
    open_view(user, system, "errors")
    user.page.locator(".errors > .tools button").first.click()
    expect(user.page.locator("dialog.ask").get_by_label("Messages per second")).to_be_visible()


def open_drawer(user: User, system: System, state: str) -> None:
    """Open the drawer of a saga in this state, and expand a raw record."""
    user.page.goto(f"{system.url}/#/users?state={state}")
    user.page.locator(".users-table tbody a").first.click()
    expect(user.drawer().locator(".timeline")).to_be_visible()
    user.drawer().locator("summary").first.click()


def submit_invalid_form(user: User, _system: System) -> None:
    """Submit the form with an invalid name and address."""
    user.submit_form(name="", email="invalid", department="Sales")
    expect(user.page.locator("#f-email-error")).to_be_visible()


def lose_response(user: User, _system: System) -> None:
    """Lose the response to a new user, so that its outcome is unknown, and switch the trace off."""
    user.page.route("**/api/users", lambda route: route.abort())
    user.page.locator("#new-user").click()
    expect(user.page.locator("#new-answer .unknown")).to_be_visible()
    user.page.keyboard.press("t")


def lose_connection(user: User, _system: System) -> None:
    """Load the page so that only the request for the plan succeeds."""
    user.page.route(re.compile("/api/(?!plan)"), lambda route: route.abort())
    user.page.reload()
    expect(user.page.locator("#connection")).to_be_visible()


def fail_plan_request(user: User, _system: System) -> None:
    """Load the page so that the request for the plan fails."""
    user.page.route("**/api/plan", lambda route: route.abort())
    user.page.reload()
    expect(user.page.get_by_role("heading", name="The console cannot be reached")).to_be_visible()


COLOR_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

#: By name: a state of the page that is checked, and the function that brings it about.
SCENES: dict[str, Callable[[User, System], None]] = {
    **{view: partial(open_view, view=view) for view in VIEWS},
    "drawer of a parked saga": partial(open_drawer, state="parked"),
    "drawer of a completed saga": partial(open_drawer, state="completed"),
    "dialog": open_redrive_dialog,
    "form": submit_invalid_form,
    "unknown outcome": lose_response,
    "lost connection": lose_connection,
    "no plan": fail_plan_request,
}


@pytest.mark.field(42)
@pytest.mark.parametrize("size", VIEWPORTS)
@pytest.mark.parametrize("scene", SCENES)
def test_axe_finds_no_violations(
    visit: Callable[..., User], busy_system: System, scene: str, size: str, now: Callable[[str], None]
) -> None:
    options = {"viewport": VIEWPORTS[size], "reduced_motion": "reduce", "bypass_csp": True}
    user = visit(busy_system.url, trace="on", **options).wait_for_connection()
    SCENES[scene](user, busy_system)
    for scheme in COLOR_SCHEMES:
        user.page.emulate_media(color_scheme=scheme)
        found = violations(user)
        assert found == [], scheme
        now(f"{len(found)} violations: {scene}, {size}, {scheme}")


@pytest.mark.field(42)
def test_axe_finds_no_violations_while_sagas_run(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="on", bypass_csp=True, reduced_motion="reduce").wait_for_connection()
    user.button("Ten new users").click()
    expect(user.page.locator(".run").first).to_be_visible()
    assert violations(user) == []
