"""Narrow windows and zoom (WCAG 2.2, 1.4.10): nothing is cut, and nobody scrolls in two directions."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from devtools.system import System
from tests.browser.conftest import ERRORS, get
from tests.browser.user import User

VIEWS = ("live", "users", "errors", "order", "system")

#: Windows that people use, and what 400 % of zoom leaves of 1280 x 1024.
WINDOWS = [
    (1440, 900),
    (1200, 800),
    (1024, 768),
    (900, 700),
    (768, 1024),
    (390, 844),
    (360, 800),
    (320, 568),
    (320, 256),
]

#: Elements beyond the right edge of the window, and figures and controls whose text does not fit.
CUT = """() => {
    const shown = [...document.querySelectorAll("body *")].filter(e => e.checkVisibility({visibilityProperty: true}));
    const name = e => `${e.tagName}.${e.className?.baseVal ?? e.className} ${e.textContent.trim().slice(0, 30)}`;
    const clipped = e => { // scrolled or cut by an ancestor: then the window does not scroll for it
        for (let at = e.parentElement; at; at = at.parentElement)
            if (getComputedStyle(at).overflowX !== "visible") return true;
        return false;
    };
    const beyond = shown.filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !clipped(e));
    const figures = "#figures *, .tabs a, .count, button, .g-count, .cards :is(dt, dd), .steps-table td, time, .chip";
    const cut = shown.filter(e => e.matches(figures) && !e.matches(".hidden, .switch")).filter(e => {
        const box = e.getBoundingClientRect();
        const scroller = e.closest(".table-scroll")?.getBoundingClientRect();
        return e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline"
            || scroller && box.right > scroller.right + 1 || box.right > innerWidth + 1 || box.left < -1;
    });
    return [...beyond.map(name), ...cut.map(e => `cut: ${name(e)}`)].slice(0, 8);
}"""

SIDEWAYS = "() => [document.documentElement.scrollWidth, document.body.scrollWidth].some(width => width > innerWidth)"


@pytest.mark.field(41)
@pytest.mark.parametrize(("width", "height"), WINDOWS)
def test_no_tab_scrolls_sideways_and_no_figure_is_cut(
    visit: Callable[..., User], busy_system: System, width: int, height: int, now: Callable[[str], None]
) -> None:
    user = visit(busy_system.url, trace="on", viewport={"width": width, "height": height}).connected()
    expect(user.page.locator("#error-count")).to_be_visible()
    assert int(user.page.locator("#error-count").inner_text()) >= ERRORS
    for view in VIEWS:
        open_view(user, busy_system, view)
        assert not user.page.evaluate(SIDEWAYS), view
        assert user.page.evaluate(CUT) == [], view
    user.page.goto(f"{busy_system.url}/#/live")
    user.page.keyboard.press("t")
    expect(user.page.locator(".arrival").first).to_be_visible()
    assert not user.page.evaluate(SIDEWAYS), "the trace off"
    assert user.page.evaluate(CUT) == [], "the trace off"
    id = get(busy_system, "/api/sagas?state=parked&q=maximiliane&limit=1")["items"][0]["id"]
    user.page.goto(f"{busy_system.url}/#/sagas/{id}")
    expect(user.drawer().locator(".timeline")).to_be_visible()
    assert not user.page.evaluate(SIDEWAYS)
    assert user.page.locator("#drawer").evaluate("e => [e, ...e.children].every(x => x.scrollWidth <= x.clientWidth)")
    now(f"{width} px: no tab scrolls sideways")


def open_view(user: User, system: System, view: str) -> None:
    """With its data, and under Errors with a kind and a message opened."""
    user.page.goto(f"{system.url}/#/{view}")
    content = {
        "live": ".stuck:visible",
        "users": ".users-table tbody tr",
        "errors": ".g-head",
        "order": ".names.right li",
        "system": ".steps-table tbody tr",
    }[view]
    user.page.locator(content).first.wait_for()
    if view == "errors":
        user.page.locator(".g-head").first.click()
        user.page.locator(".l-toggle").first.click()
        user.page.locator(".letter pre").wait_for()


@pytest.mark.field(41)
@pytest.mark.parametrize(("width", "height"), [(390, 844), (360, 800), (320, 568)])
def test_on_a_phone_the_header_leaves_room_and_new_user_is_one_press_away(
    visit: Callable[..., User], busy_system: System, width: int, height: int, now: Callable[[str], None]
) -> None:
    user = visit(busy_system.url, trace="on", viewport={"width": width, "height": height}, has_touch=True).connected()
    for view in VIEWS:
        open_view(user, busy_system, view)
        user.page.evaluate("scrollTo(0, 0)")
        used = user.page.locator("#main").evaluate("e => e.getBoundingClientRect().top")
        assert used <= height / 4, view
        expect(user.page.locator("#new-user")).to_be_in_viewport(ratio=1)
    now(f"{width} px: the header takes {used:.0f} of {height} px")
    for control in ("#new-ten", "#new-form", "#new-csv", "#trace", "#department"):
        expect(user.page.locator(control)).to_be_hidden()
    user.button("More").tap()
    for control in ("#new-ten", "#new-form", "#new-csv", "#trace", "#department"):
        expect(user.page.locator(control)).to_be_visible()
    assert not user.page.evaluate(SIDEWAYS)
    user.button("More").tap()
    expect(user.page.locator("#new-ten")).to_be_hidden()


@pytest.mark.field(41)
def test_at_400_percent_nothing_sticks_over_the_content(visit: Callable[..., User], busy_system: System) -> None:
    user = visit(busy_system.url, trace="on", viewport={"width": 320, "height": 256}).connected()
    sticking = """() => [...document.querySelectorAll(".top, .stations")]
        .filter(e => ["sticky", "fixed"].includes(getComputedStyle(e).position)).map(e => e.className)"""
    assert user.page.evaluate(sticking) == []


@pytest.mark.field(40)
@pytest.mark.parametrize("trace", ["on", "off"])
def test_with_only_parked_sagas_the_live_tab_says_how_many_wait_under_errors(
    visit: Callable[..., User], busy_system: System, trace: str, now: Callable[[str], None]
) -> None:
    user = visit(busy_system.url, trace=trace).connected()
    stuck = user.page.locator(".live .stuck")
    stats = user.ask("/api/stats")
    expect(stuck).to_contain_text(f"{stats['counts']['parked']} are parked")
    link = stuck.get_by_role("link", name="under Errors")
    expect(link).to_contain_text(f"{stats['errors']} permanently failed messages")
    expect(user.page.get_by_text("No users are being onboarded.")).to_be_hidden()
    now(stuck.inner_text().replace("\n", " "))
    link.click()
    expect(user.page.locator(".view.errors")).to_be_visible()
