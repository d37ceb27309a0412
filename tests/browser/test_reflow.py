"""Reflow in narrow windows and under zoom (WCAG 2.2, 1.4.10): nothing is cut off, and no page scrolls sideways."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from devtools.system import System
from tests.browser.conftest import MIN_ERRORS
from tests.browser.console_api import get
from tests.browser.user import User
from tests.browser.views import VIEWS, open_view

#: Common window sizes, and 1280 x 1024 at 400 % zoom.
WINDOW_SIZES = [
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

#: JavaScript: the elements beyond the right edge of the window, and the figures and controls whose text does not fit.
CUT_ELEMENTS = """() => {
    const shown = [...document.querySelectorAll("body *")].filter(e => e.checkVisibility({visibilityProperty: true}));
    const name = e => `${e.tagName}.${e.className?.baseVal ?? e.className} ${e.textContent.trim().slice(0, 30)}`;
    const isClipped = e => { // an ancestor scrolls or clips it, so it does not widen the page
        for (let at = e.parentElement; at; at = at.parentElement)
            if (getComputedStyle(at).overflowX !== "visible") return true;
        return false;
    };
    const beyond = shown.filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !isClipped(e));
    const figures = "#figures *, .tabs a, .count, button, .g-count, .cards :is(dt, dd), .steps-table td, time, .chip";
    const cut = shown.filter(e => e.matches(figures) && !e.matches(".hidden, .switch")).filter(e => {
        const box = e.getBoundingClientRect();
        const scroller = e.closest(".table-scroll")?.getBoundingClientRect();
        return e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline"
            || scroller && box.right > scroller.right + 1 || box.right > innerWidth + 1 || box.left < -1;
    });
    return [...beyond.map(name), ...cut.map(e => `cut: ${name(e)}`)].slice(0, 8);
}"""

#: JavaScript: whether the page is wider than the window.
SCROLLS_SIDEWAYS = (
    "() => [document.documentElement.scrollWidth, document.body.scrollWidth].some(width => width > innerWidth)"
)


@pytest.mark.field(41)
@pytest.mark.parametrize(("width", "height"), WINDOW_SIZES)
def test_no_tab_scrolls_sideways_and_no_figure_is_cut_off(
    visit: Callable[..., User], busy_system: System, width: int, height: int, now: Callable[[str], None]
) -> None:
    user = visit(busy_system.url, trace="on", viewport={"width": width, "height": height}).wait_for_connection()
    expect(user.page.locator("#error-count")).to_be_visible()
    assert int(user.page.locator("#error-count").inner_text()) >= MIN_ERRORS
    for view in VIEWS:
        open_view(user, busy_system, view)
        assert not user.page.evaluate(SCROLLS_SIDEWAYS), view
        assert user.page.evaluate(CUT_ELEMENTS) == [], view
    user.page.goto(f"{busy_system.url}/#/live")
    user.page.keyboard.press("t")
    expect(user.page.locator(".arrival").first).to_be_visible()
    assert not user.page.evaluate(SCROLLS_SIDEWAYS), "with the trace off"
    assert user.page.evaluate(CUT_ELEMENTS) == [], "with the trace off"
    id = get(busy_system, "/api/sagas?state=parked&q=maximiliane&limit=1")["items"][0]["id"]
    user.page.goto(f"{busy_system.url}/#/sagas/{id}")
    expect(user.drawer().locator(".timeline")).to_be_visible()
    assert not user.page.evaluate(SCROLLS_SIDEWAYS)
    assert user.page.locator("#drawer").evaluate("e => [e, ...e.children].every(x => x.scrollWidth <= x.clientWidth)")
    now(f"{width} px: no tab scrolls sideways")


@pytest.mark.field(41)
@pytest.mark.parametrize(("width", "height"), [(390, 844), (360, 800), (320, 568)])
def test_the_header_is_small_on_a_phone_and_contains_new_user(
    visit: Callable[..., User], busy_system: System, width: int, height: int, now: Callable[[str], None]
) -> None:
    user = visit(
        busy_system.url, trace="on", viewport={"width": width, "height": height}, has_touch=True
    ).wait_for_connection()
    for view in VIEWS:
        open_view(user, busy_system, view)
        user.page.evaluate("scrollTo(0, 0)")
        header_px = user.page.locator("#main").evaluate("e => e.getBoundingClientRect().top")
        assert header_px <= height / 4, view
        expect(user.page.locator("#new-user")).to_be_in_viewport(ratio=1)
    now(f"{width} px: the header takes {header_px:.0f} of {height} px")
    for control in ("#new-ten", "#new-form", "#new-csv", "#trace", "#department"):
        expect(user.page.locator(control)).to_be_hidden()
    user.button("More").tap()
    for control in ("#new-ten", "#new-form", "#new-csv", "#trace", "#department"):
        expect(user.page.locator(control)).to_be_visible()
    assert not user.page.evaluate(SCROLLS_SIDEWAYS)
    user.button("More").tap()
    expect(user.page.locator("#new-ten")).to_be_hidden()


@pytest.mark.field(41)
def test_no_header_covers_the_content_at_400_percent_zoom(visit: Callable[..., User], busy_system: System) -> None:
    user = visit(busy_system.url, trace="on", viewport={"width": 320, "height": 256}).wait_for_connection()
    sticky_elements = """() => [...document.querySelectorAll(".top, .stations")]
        .filter(e => ["sticky", "fixed"].includes(getComputedStyle(e).position)).map(e => e.className)"""
    assert user.page.evaluate(sticky_elements) == []


@pytest.mark.field(40)
@pytest.mark.parametrize("trace", ["on", "off"])
def test_with_only_parked_sagas_the_live_tab_links_to_errors(
    visit: Callable[..., User], busy_system: System, trace: str, now: Callable[[str], None]
) -> None:
    user = visit(busy_system.url, trace=trace).wait_for_connection()
    parked = user.page.locator(".live .stuck")
    stats = user.fetch("/api/stats")
    expect(parked).to_contain_text(f"{stats['counts']['parked']} are parked")
    link = parked.get_by_role("link", name="under Errors")
    expect(link).to_contain_text(f"{stats['errors']} permanently failed messages")
    expect(user.page.get_by_text("No users are being onboarded.")).to_be_hidden()
    now(parked.inner_text().replace("\n", " "))
    link.click()
    expect(user.page.locator(".view.errors")).to_be_visible()
