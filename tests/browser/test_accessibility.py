"""Accessibility: operation by keyboard, phones, contrast, reduced motion, screen readers, and unusual names."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from tests.browser.contrast import low_contrast_texts
from tests.browser.focus import tab_to
from tests.browser.user import SAGA_TIMEOUT_MS, User
from tests.browser.viewports import PHONE
from tests.browser.views import VIEWS

#: A name without a space at which a line could break.
UNBREAKABLE_NAME = "W" + "e" * 180 + "k"


def test_markup_in_a_name_is_shown_as_text(user: User) -> None:
    name = "<img src=x onerror=\"document.title='injected'\"><b>Bold</b>"
    user.submit_form(name=name, email="x@example.com", department="Sales")
    id = user.accepted_id()
    expect(user.row(id)).to_contain_text(name)
    expect(user.wait_for_arrival(id)).to_contain_text(name)
    user.arrival(id).get_by_role("link").click()
    expect(user.drawer().get_by_role("heading", level=2)).to_have_text(name)
    user.page.keyboard.press("Escape")
    for view in ("Users", "Order"):
        user.open_tab(view)
        expect(user.page.get_by_text(name).first).to_be_visible()
    assert user.page.locator("main img, .drawer img").count() == 0
    expect(user.page).not_to_have_title(re.compile("injected"))


def test_names_of_any_script_and_length_fit_the_window(user: User) -> None:
    names = ["محمد الخوارزمي", "👩‍🚀 Astro 🚀", "李小龍", UNBREAKABLE_NAME]
    user.choose_csv("name,email,department\n" + "\n".join(f"{name},far@example.com,People" for name in names))
    for selector in (".run", ".arrival"):
        for name in names:
            expect(user.page.locator(selector, has_text=name)).to_be_visible(timeout=SAGA_TIMEOUT_MS)
        assert not user.scrolls_sideways()


def test_a_user_is_onboarded_found_and_opened_by_keyboard_alone(user: User) -> None:
    page = user.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#new-user")).to_be_focused()
    page.keyboard.press("Enter")
    id = user.accepted_id()
    tab_to(user, "#trace")
    page.keyboard.press("Space")
    expect(user.trace_switch()).not_to_be_checked()
    page.keyboard.press("Space")
    user.wait_for_arrival(id)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type(id)
    rows = page.locator(".users-table tbody tr")
    expect(rows).to_have_count(1)
    tab_to(user, ".users-table tbody a")
    page.keyboard.press("Enter")
    expect(user.drawer()).to_contain_text(id)
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).to_be_hidden()


@pytest.mark.parametrize("trace", ["on", "off"])
def test_no_view_scrolls_sideways_on_a_phone(visit: Callable[..., User], shared_system: System, trace: str) -> None:
    user = visit(shared_system.url, trace=trace, viewport=PHONE, has_touch=True).wait_for_connection()
    user.open_more()
    user.button("Form").click()
    assert not user.scrolls_sideways()
    user.button("Form").click()
    user.button("Ten new users").click()
    expect(user.page.locator(".run, .arrival").first).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    for view in VIEWS:
        user.page.goto(f"{shared_system.url}/#/{view}")
        expect(user.page.locator(f".view.{view}")).to_be_visible()
        assert not user.scrolls_sideways(), view
    user.page.goto(f"{shared_system.url}/#/live")
    user.page.locator(".arrival a").first.click()
    expect(user.drawer().locator(".timeline")).to_be_visible()
    assert not user.scrolls_sideways()


def test_keyboard_shortcuts_are_not_mentioned_on_a_phone(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="on", viewport=PHONE, has_touch=True).wait_for_connection()
    hint = user.page.locator(".empty p", has_text="Press")
    expect(hint).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    expect(hint).to_have_text("Press New User.", use_inner_text=True)


def test_every_station_has_a_label_on_a_phone(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="on", viewport=PHONE, has_touch=True).wait_for_connection()
    stations = user.page.locator(".station")
    for number, label in enumerate(("Provisioner", "Authorizer", "Notifier", "End")):
        expect(stations.nth(number)).to_contain_text(label, use_inner_text=True)


def test_a_name_without_spaces_wraps_in_every_view_on_a_phone(
    visit: Callable[..., User], shared_system: System
) -> None:
    user = visit(shared_system.url, trace="off", viewport=PHONE, has_touch=True).wait_for_connection()
    user.open_more()
    user.button("Ten new users").click()
    expect(user.page.locator(".arrival").nth(9)).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    user.page.route(re.compile(r"/api/sagas\?"), replace_names)
    user.page.goto(f"{shared_system.url}/#/users")
    user.page.reload()
    for view in VIEWS:
        user.page.goto(f"{shared_system.url}/#/{view}")
        expect(user.page.locator(f".view.{view}")).to_be_visible()
        if view in ("users", "order"):
            expect(user.page.locator(f".view.{view}").get_by_text(UNBREAKABLE_NAME).first).to_be_visible()
        assert not user.scrolls_sideways(), view


def replace_names(route: Route) -> None:
    """Return the response of the server, with `UNBREAKABLE_NAME` as the name of each user."""
    answer = route.fetch()
    body = answer.json()
    for item in body["items"]:
        item["user"]["name"] = UNBREAKABLE_NAME
    route.fulfill(response=answer, json=body)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_sufficient_contrast(visit: Callable[..., User], shared_system: System, scheme: Any) -> None:
    user = visit(shared_system.url, trace="on", color_scheme=scheme, reduced_motion="reduce").wait_for_connection()
    user.submit_form(name="Jo Juggler", email="jo@example.com", department="Juggling")
    user.wait_for_arrival(user.accepted_id())
    user.submit_form(name="", email="invalid", department="Sales")
    expect(user.page.locator("#f-email-error")).to_be_visible()
    user.press_new_user()
    expect(user.page.locator(".run").first).to_be_visible()
    assert low_contrast_texts(user) == []
    for view in VIEWS[1:]:
        user.page.goto(f"{shared_system.url}/#/{view}")
        expect(user.page.locator(f".view.{view}")).to_be_visible()
        assert low_contrast_texts(user) == [], view
    user.page.goto(f"{shared_system.url}/#/users")
    user.page.locator(".users-table tbody a").first.click()
    expect(user.drawer().locator(".timeline")).to_be_visible()
    assert low_contrast_texts(user) == []


def test_nothing_moves_if_the_user_prefers_reduced_motion(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="on", reduced_motion="reduce").wait_for_connection()
    id = user.press_new_user()
    expect(user.row(id)).to_be_visible()
    assert user.page.evaluate("document.getAnimations().filter(a => a.playState === 'running').length") == 0
    user.wait_for_arrival(id)


def test_arrivals_are_announced_to_screen_readers(user: User) -> None:
    id = user.press_new_user()
    name = user.page.locator("#new-answer a").inner_text()
    user.wait_for_arrival(id)
    expect(user.page.locator("#announce[aria-live=polite]")).to_contain_text(name)
    expect(user.page.locator("#announce")).to_contain_text("completed")


def test_every_control_has_a_name_and_the_page_has_landmarks(user: User) -> None:
    unnamed = user.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a")]
            .filter(e => e.checkVisibility())
            .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
            .filter(e => !e.hasAttribute("aria-labelledby"))
            .map(e => e.outerHTML)"""
    )
    assert unnamed == []
    for role in ("main", "navigation", "complementary"):
        expect(user.page.get_by_role(role).first).to_be_visible()
    expect(user.page.get_by_role("heading", level=1)).to_have_count(1)


def test_all_resources_are_loaded_from_the_console(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url)
    urls = user.wait_for_connection().page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    assert urls
    assert [url for url in urls if not url.startswith(shared_system.url)] == []
