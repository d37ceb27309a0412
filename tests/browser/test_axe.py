"""axe-core finds nothing: WCAG 2.2 A and AA, and its best practices, on every tab with data, in light and dark."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import expect

from devtools.system import System
from tests.browser.test_reflow import VIEWS, open_view
from tests.browser.user import User

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
#: target-size is not on by default in axe.
OPTIONS = {"runOnly": {"type": "tag", "values": TAGS}, "rules": {"target-size": {"enabled": True}}}

SIZES = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


def violations(user: User) -> list[str]:
    """What axe finds on the page as it is, each with its rule and the first elements."""
    if not user.page.evaluate("'axe' in window"):
        user.page.evaluate(AXE)
    found: Any = user.page.evaluate("options => axe.run(document, options)", OPTIONS)
    assert found["passes"], "axe has checked nothing"
    return [f"{each['id']}: {[node['target'] for node in each['nodes'][:5]]}" for each in found["violations"]]


def dialog(user: User, system: System) -> None:
    """The question before a redrive of many."""
    open_view(user, system, "errors")
    user.page.locator(".errors > .tools button").first.click()
    expect(user.page.locator("dialog.ask").get_by_label("Messages per second")).to_be_visible()


def drawer(user: User, system: System, state: str) -> None:
    """Of a saga in this state, with a raw record opened."""
    user.page.goto(f"{system.url}/#/users?state={state}")
    user.page.locator(".users-table tbody a").first.click()
    expect(user.drawer().locator(".timeline")).to_be_visible()
    user.drawer().locator("summary").first.click()


def form(user: User, _system: System) -> None:
    """Filled in wrongly."""
    user.fill_form(name="", email="nobody", department="Sales")
    expect(user.page.locator("#f-email-error")).to_be_visible()


def unknown_outcome(user: User, _system: System) -> None:
    """Of a new user, with the trace off."""
    user.page.route("**/api/users", lambda route: route.abort())
    user.page.locator("#new-user").click()
    expect(user.page.locator("#new-answer .unknown")).to_be_visible()
    user.page.keyboard.press("t")


def lost_connection(user: User, _system: System) -> None:
    """The page cannot reach the server after it has loaded the plan."""
    user.page.route(re.compile("/api/(?!plan)"), lambda route: route.abort())
    user.page.reload()
    expect(user.page.locator("#connection")).to_be_visible()


def no_plan(user: User, _system: System) -> None:
    """The page cannot load the plan."""
    user.page.route("**/api/plan", lambda route: route.abort())
    user.page.reload()
    expect(user.page.get_by_role("heading", name="The console cannot be reached")).to_be_visible()


SCENES: dict[str, Callable[[User, System], None]] = {
    **{view: lambda user, system, view=view: open_view(user, system, view) for view in VIEWS},  # type: ignore[misc]
    "drawer of a parked saga": lambda user, system: drawer(user, system, "parked"),
    "drawer of a completed saga": lambda user, system: drawer(user, system, "completed"),
    "dialog": dialog,
    "form": form,
    "unknown outcome": unknown_outcome,
    "lost connection": lost_connection,
    "no plan": no_plan,
}


@pytest.mark.field(42)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scene", SCENES)
def test_axe_finds_nothing(
    visit: Callable[..., User], busy_system: System, scene: str, size: str, scheme: Any, now: Callable[[str], None]
) -> None:
    look = {"viewport": SIZES[size], "color_scheme": scheme, "reduced_motion": "reduce", "bypass_csp": True}
    user = visit(busy_system.url, trace="on", **look).connected()
    SCENES[scene](user, busy_system)
    found = violations(user)
    assert found == []
    now(f"{len(found)} violations: {scene}, {size}, {scheme}")


@pytest.mark.field(42)
def test_axe_finds_nothing_while_users_travel(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="on", bypass_csp=True, reduced_motion="reduce").connected()
    user.button("Ten new users").click()
    expect(user.page.locator(".run").first).to_be_visible()
    assert violations(user) == []
