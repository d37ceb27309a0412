"""For everybody: hostile names, a keyboard only, a phone, dark and light, no motion."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from tests.browser.user import User

VIEWS = ("live", "users", "errors", "order", "system")
PHONE = {"width": 390, "height": 844}
ENDLESS = "W" + "e" * 180 + "k"

#: Every text whose contrast against what is behind it is under 4.5 : 1 (WCAG 2.2, 1.4.3), as "ratio text".
FAINT = """() => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
    const context = canvas.getContext("2d", {willReadFrequently: true});
    const rgba = (colour, below = [255, 255, 255]) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
        return [r, g, b].map((part, i) => part * a / 255 + below[i] * (1 - a / 255));
    };
    const light = parts => {
        const [r, g, b] = parts.map(p => p / 255).map(p => p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
        return layers.reduce((below, layer) => rgba(layer, below), [255, 255, 255]);
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.textContent.trim();
        if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        if (element.closest(".hidden, .leaving, :disabled, .skip, option, script, noscript")) continue;
        const ground = behind(element);
        const [a, b] = [light(rgba(getComputedStyle(element).color, ground)), light(ground)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${text}`);
    }
    return faint;
}"""


def test_a_name_that_looks_like_markup_is_only_text(user: User) -> None:
    name = "<img src=x onerror=\"document.title='broken into'\"><b>Bold</b>"
    user.fill_form(name=name, email="x@example.com", department="Sales")
    id = user.accepted()
    expect(user.row(id)).to_contain_text(name)
    expect(user.sees_arrival(id)).to_contain_text(name)
    user.arrival(id).get_by_role("link").click()
    expect(user.drawer().get_by_role("heading", level=2)).to_have_text(name)
    user.page.keyboard.press("Escape")
    for view in ("Users", "Order"):
        user.go(view)
        expect(user.page.get_by_text(name).first).to_be_visible()
    assert user.page.locator("main img, .drawer img").count() == 0
    expect(user.page).not_to_have_title(re.compile("broken into"))


def test_names_of_every_script_and_length_fit(user: User) -> None:
    names = ["محمد الخوارزمي", "👩‍🚀 Astro 🚀", "李小龍", ENDLESS]
    user.choose_csv("name,email,department\n" + "\n".join(f"{name},far@example.com,People" for name in names))
    for where in (".run", ".arrival"):
        for name in names:
            expect(user.page.locator(where, has_text=name)).to_be_visible(timeout=30_000)
        assert not user.scrolls_sideways()


def test_with_a_keyboard_only_a_user_is_onboarded_found_and_looked_at(user: User) -> None:
    page = user.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#new-user")).to_be_focused()
    page.keyboard.press("Enter")
    id = user.accepted()
    tab_to(user, "#trace")
    page.keyboard.press("Space")
    expect(user.trace_switch()).not_to_be_checked()
    page.keyboard.press("Space")
    user.sees_arrival(id)
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


def tab_to(user: User, selector: str) -> None:
    """Press Tab until it has the focus, and see that the focus can be seen."""
    for _ in range(40):
        user.page.keyboard.press("Tab")
        if user.page.locator(f"{selector}:focus").count():
            break
    focused = user.page.locator(f"{selector}:focus-visible")
    expect(focused).to_have_count(1)
    outlined = "e => [e, e.closest('tr, li')].some(x => x && getComputedStyle(x).outlineStyle !== 'none')"
    assert focused.evaluate(outlined), f"{selector} has the focus, and nothing shows it"


@pytest.mark.parametrize("trace", ["on", "off"])
def test_on_a_phone_nothing_scrolls_sideways(visit: Callable[..., User], shared_system: System, trace: str) -> None:
    user = visit(shared_system.url, trace=trace, viewport=PHONE, has_touch=True).connected()
    user.more()
    user.button("Form").click()
    assert not user.scrolls_sideways()
    user.button("Form").click()
    user.button("Ten new users").click()
    expect(user.page.locator(".run, .arrival").first).to_be_visible(timeout=30_000)
    for view in VIEWS:
        user.page.goto(f"{shared_system.url}/#/{view}")
        expect(user.page.locator(f".view.{view}")).to_be_visible()
        assert not user.scrolls_sideways(), view
    user.page.goto(f"{shared_system.url}/#/live")
    user.page.locator(".arrival a").first.click()
    expect(user.drawer().locator(".timeline")).to_be_visible()
    assert not user.scrolls_sideways()


def test_on_a_phone_nobody_is_told_of_a_key(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="on", viewport=PHONE, has_touch=True).connected()
    invitation = user.page.locator(".empty p", has_text="Press")
    expect(invitation).to_be_visible(timeout=30_000)
    expect(invitation).to_have_text("Press New User.", use_inner_text=True)


def test_on_a_phone_every_station_says_whose_it_is_or_what_it_does(
    visit: Callable[..., User], shared_system: System
) -> None:
    user = visit(shared_system.url, trace="on", viewport=PHONE, has_touch=True).connected()
    stations = user.page.locator(".station")
    for station, said in zip(range(4), ("Provisioner", "Authorizer", "Notifier", "End"), strict=True):
        expect(stations.nth(station)).to_contain_text(said, use_inner_text=True)


def test_on_a_phone_an_endless_name_breaks_in_every_view(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="off", viewport=PHONE, has_touch=True).connected()
    user.more()
    user.button("Ten new users").click()
    expect(user.page.locator(".arrival").nth(9)).to_be_visible(timeout=30_000)
    user.page.route(re.compile(r"/api/sagas\?"), endless_names)
    user.page.goto(f"{shared_system.url}/#/users")
    user.page.reload()
    for view in VIEWS:
        user.page.goto(f"{shared_system.url}/#/{view}")
        expect(user.page.locator(f".view.{view}")).to_be_visible()
        if view in ("users", "order"):
            expect(user.page.locator(f".view.{view}").get_by_text(ENDLESS).first).to_be_visible()
        assert not user.scrolls_sideways(), view


def endless_names(route: Route) -> None:
    """Answer as the server does, but that everybody has a name of 182 letters and no space."""
    answer = route.fetch()
    body = answer.json()
    for item in body["items"]:
        item["user"]["name"] = ENDLESS
    route.fulfill(response=answer, json=body)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(visit: Callable[..., User], shared_system: System, scheme: Any) -> None:
    user = visit(shared_system.url, trace="on", color_scheme=scheme, reduced_motion="reduce").connected()
    user.fill_form(name="Jo Juggler", email="jo@example.com", department="Juggling")
    user.sees_arrival(user.accepted())
    user.fill_form(name="", email="nobody", department="Sales")
    expect(user.page.locator("#f-email-error")).to_be_visible()
    user.press_new_user()
    expect(user.page.locator(".run").first).to_be_visible()
    assert user.page.evaluate(FAINT) == []
    for view in VIEWS[1:]:
        user.page.goto(f"{shared_system.url}/#/{view}")
        expect(user.page.locator(f".view.{view}")).to_be_visible()
        assert user.page.evaluate(FAINT) == [], view
    user.page.goto(f"{shared_system.url}/#/users")
    user.page.locator(".users-table tbody a").first.click()
    expect(user.drawer().locator(".timeline")).to_be_visible()
    assert user.page.evaluate(FAINT) == []


def test_who_wants_no_motion_gets_none(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="on", reduced_motion="reduce").connected()
    id = user.press_new_user()
    expect(user.row(id)).to_be_visible()
    assert user.page.evaluate("document.getAnimations().filter(a => a.playState === 'running').length") == 0
    user.sees_arrival(id)


def test_arrivals_are_told_to_a_screen_reader(user: User) -> None:
    id = user.press_new_user()
    name = user.page.locator("#new-answer a").inner_text()
    user.sees_arrival(id)
    expect(user.page.locator("#announce[aria-live=polite]")).to_contain_text(name)
    expect(user.page.locator("#announce")).to_contain_text("completed")


def test_every_control_has_a_name_and_the_page_its_landmarks(user: User) -> None:
    nameless = user.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a")]
            .filter(e => e.checkVisibility())
            .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
            .filter(e => !e.hasAttribute("aria-labelledby"))
            .map(e => e.outerHTML)"""
    )
    assert nameless == []
    for role in ("main", "navigation", "complementary"):
        expect(user.page.get_by_role(role).first).to_be_visible()
    expect(user.page.get_by_role("heading", level=1)).to_have_count(1)


def test_nothing_is_loaded_from_anywhere_else(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url)
    urls = user.connected().page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    assert urls
    assert [url for url in urls if not url.startswith(shared_system.url)] == []
