"""With a keyboard only: the focus stays where the work is, and what concerns many is not one careless Enter away."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from devtools.wait import until
from tests.browser.conftest import get, post, short_user
from tests.browser.test_care import tab_to
from tests.browser.user import SAGA_MS, User

FOCUS = """() => {
    const e = document.activeElement;
    if (!e || e === document.body) return "body";
    return `${e.id || e.className || e.tagName}: ${e.textContent.trim().slice(0, 40)}`;
}"""


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Every message fails permanently, so that all sagas are parked, and are parked again when they are redriven."""
    system = System(tmp_path_factory.mktemp("stuck"), lag="0-0.1", error_rate=1)
    try:
        system.ready()
        post(system, "/api/users", [short_user(n) for n in range(12)])
        until(lambda: get(system, "/api/errors?limit=1")["total"] == 12, 60, "all are parked")
        yield system
    finally:
        system.end()


def focus(user: User) -> str:
    """Which element has it."""
    return str(user.page.evaluate(FOCUS))


def never_on_body(user: User) -> Callable[[], list[str]]:
    """Watch the focus from now on; the result tells what had it, frame by frame, each once."""
    user.page.evaluate(
        f"""() => {{
            const where = {FOCUS};
            window.focused = [];
            const look = () => {{
                const now = where();
                if (window.focused.at(-1) !== now) window.focused.push(now);
                requestAnimationFrame(look);
            }};
            look();
        }}"""
    )
    return lambda: list(user.page.evaluate("window.focused"))


def parked(system: System) -> str:
    """The id of a parked saga."""
    return str(get(system, "/api/sagas?state=parked&limit=1")["items"][0]["id"])


@pytest.mark.field(43)
@pytest.mark.parametrize("answer_s", [0, 1])
def test_redriving_in_the_drawer_by_keyboard_keeps_the_focus(
    visit: Callable[..., User], stuck: System, answer_s: int, now: Callable[[str], None]
) -> None:
    user = visit(stuck.url, f"#/sagas/{parked(stuck)}").connected()
    if answer_s:
        user.page.route("**/api/errors/redrive", lambda route: (user.page.wait_for_timeout(1000), route.continue_()))
    expect(user.drawer().get_by_role("button", name="Redrive")).to_be_visible()
    tab_to(user, ".drawer-actions button")
    focused = never_on_body(user)
    user.page.keyboard.press("Enter")
    expect(user.drawer().locator(".said")).to_contain_text("Redriven")
    expect(user.drawer().locator(".timeline")).to_contain_text("Redriven by", timeout=SAGA_MS)
    expect(user.drawer().locator(".drawer-state")).to_contain_text("Parked", timeout=SAGA_MS)
    assert "body" not in focused()
    assert user.page.evaluate("document.querySelector('#drawer').contains(document.activeElement)")
    now(f"after a redrive by keyboard the focus is on: {focus(user)}")


@pytest.mark.field(43)
def test_an_opened_record_keeps_the_focus_when_the_timeline_grows(visit: Callable[..., User], stuck: System) -> None:
    id = parked(stuck)
    user = visit(stuck.url, f"#/sagas/{id}").connected()
    summary = user.drawer().locator("summary").first
    summary.focus()
    user.page.keyboard.press("Enter")
    lines = user.drawer().locator(".timeline li")
    before = lines.count()
    post(stuck, "/api/errors/redrive", {"ids": [id]})
    expect(lines.nth(before)).to_be_visible(timeout=SAGA_MS)
    expect(user.drawer().locator("summary").first).to_be_focused()


@pytest.mark.field(43)
@pytest.mark.parametrize("button", ["Redrive all…", "Roll back all…"])
def test_the_question_before_all_starts_at_cancel_and_keeps_the_focus(
    visit: Callable[..., User], stuck: System, button: str, now: Callable[[str], None]
) -> None:
    user = visit(stuck.url, "#/errors").connected()
    opener = user.page.get_by_role("button", name=button)
    opener.focus()
    user.page.keyboard.press("Enter")
    dialog = user.page.locator("dialog.ask")
    expect(dialog.get_by_label("Messages per second")).to_have_value("20")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    for key in ["Tab"] * 6 + ["Shift+Tab"] * 9:
        user.page.keyboard.press(key)
        assert dialog.evaluate("e => e.contains(document.activeElement)"), f"{key}: {focus(user)}"
    user.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    opener.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    user.page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    now(f"{button}: Cancel has the focus, 20 a second")


@pytest.mark.field(43)
def test_all_go_at_a_bearable_rate_with_progress(visit: Callable[..., User], stuck: System) -> None:
    user = visit(stuck.url, "#/errors").connected()
    orders: list[dict[str, Any]] = []

    def answer(route: Route) -> None:
        order = route.request.post_data_json or {}
        count = len(order.get("ids", range(150)))
        if not order.get("dry_run"):
            orders.append(order)
        route.fulfill(json={"count": count, "dry_run": order.get("dry_run", False)})

    names = [{"name": f"notify[0]@{n}"} for n in range(150)]
    user.page.route("**/api/errors/redrive", answer)
    user.page.route(re.compile("limit=500"), lambda route: route.fulfill(json={"items": names, "next": None}))
    user.page.get_by_role("button", name="Redrive all…").click()
    dialog = user.page.locator("dialog.ask")
    expect(dialog).to_contain_text("about 8 s; keep this page open")
    tab_to(user, "dialog.ask [type=submit]")
    focused = never_on_body(user)
    user.page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("80 of 150 sent")
    expect(user.page.locator(".errors > .said")).to_have_text("150 messages redriven.")
    assert "body" not in focused()
    assert [len(order["ids"]) for order in orders] == [40, 40, 40, 30]
    assert {order["rate"] for order in orders} == {20}


@pytest.mark.field(43)
def test_when_the_last_error_is_gone_the_focus_stays_in_the_view(visit: Callable[..., User], stuck: System) -> None:
    user = visit(stuck.url, "#/errors").connected()
    expect(user.page.locator(".group")).to_have_count(1)
    tab_to(user, ".l-toggle")
    user.page.keyboard.press("Enter")
    tab_to(user, ".letter button")
    focused = never_on_body(user)
    user.page.route(re.compile(r"/api/errors\?"), no_errors)
    user.page.route("**/api/errors/redrive", lambda route: route.fulfill(json={"count": 1, "dry_run": False}))
    user.page.keyboard.press("Enter")
    expect(user.page.get_by_text("No errors.")).to_be_visible()
    assert "body" not in focused()
    expect(user.page.locator(".errors > .said")).to_be_focused()


def no_errors(route: Route) -> None:
    """All are dealt with."""
    route.fulfill(body=json.dumps({"items": [], "total": 0, "next": None}), content_type="application/json")


@pytest.mark.field(43)
@pytest.mark.parametrize(("view", "link"), [("order", ".names.right a"), ("live", ".arrival a")])
def test_a_link_keeps_the_focus_while_the_view_is_drawn_again(user: User, view: str, link: str) -> None:
    for _ in range(2):
        user.sees_arrival(user.ask_new_user())
    user.page.goto(f"{user.page.url.split('#')[0]}#/{view}")
    user.page.locator(link).first.focus()
    href = user.page.locator(":focus").get_attribute("href") or ""
    focused = never_on_body(user)
    fresh = user.ask_new_user()
    expect(user.page.locator(f".view.{view} [data-id='{fresh}']").first).to_be_visible(timeout=SAGA_MS)
    expect(user.page.locator(":focus")).to_have_attribute("href", href)
    assert "body" not in focused()


@pytest.mark.field(43)
def test_a_user_under_way_keeps_the_focus_until_it_is_completed(user: User, shared_system: System) -> None:
    notifier = shared_system.child("agents:notifier")
    notifier.suspend()
    try:
        id = user.ask_new_user()
        user.page.goto(f"{user.page.url.split('#')[0]}#/users?q={id}")
        row = user.page.locator(f".users-table [data-id='{id}']")
        expect(row).to_contain_text("Running")
        row.get_by_role("link").focus()
        focused = never_on_body(user)
    finally:
        notifier.resume()
    expect(row).to_contain_text("Completed", timeout=SAGA_MS)
    expect(row.get_by_role("link")).to_be_focused()
    assert "body" not in focused()
