"""Operation by keyboard: the focus is never lost, and the confirmation of a bulk action starts at Cancel."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from devtools.wait import until
from tests.browser.console_api import get, post, short_user
from tests.browser.focus import focused_element, record_focus, tab_to
from tests.browser.user import SAGA_TIMEOUT_MS, User


@pytest.fixture(scope="module")
def parked_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with twelve parked sagas. All steps fail permanently, so redriven sagas are parked again."""
    system = System(tmp_path_factory.mktemp("parked_system"), lag="0-0.1", error_rate=1)
    try:
        system.ready()
        post(system, "/api/users", [short_user(n) for n in range(12)])
        until(lambda: get(system, "/api/errors?limit=1")["total"] == 12, 60, "not all sagas were parked")
        yield system
    finally:
        system.end()


def parked_id(system: System) -> str:
    """The id of a parked saga."""
    return str(get(system, "/api/sagas?state=parked&limit=1")["items"][0]["id"])


@pytest.mark.field(43)
@pytest.mark.parametrize("answer_s", [0, 1])
def test_a_redrive_in_the_drawer_by_keyboard_keeps_the_focus(
    visit: Callable[..., User], parked_system: System, answer_s: int, now: Callable[[str], None]
) -> None:
    user = visit(parked_system.url, f"#/sagas/{parked_id(parked_system)}").wait_for_connection()

    def delay(route: Route) -> None:
        user.page.wait_for_timeout(1000 * answer_s)
        route.continue_()

    if answer_s:
        user.page.route("**/api/errors/redrive", delay)
    expect(user.drawer().get_by_role("button", name="Redrive")).to_be_visible()
    tab_to(user, ".drawer-actions button")
    focused = record_focus(user)
    user.page.keyboard.press("Enter")
    expect(user.drawer().locator(".said")).to_contain_text("Redriven")
    expect(user.drawer().locator(".timeline")).to_contain_text("Redriven by", timeout=SAGA_TIMEOUT_MS)
    expect(user.drawer().locator(".drawer-state")).to_contain_text("Parked", timeout=SAGA_TIMEOUT_MS)
    assert "body" not in focused()
    assert user.page.evaluate("document.querySelector('#drawer').contains(document.activeElement)")
    now(f"focused element after a redrive by keyboard: {focused_element(user)}")


@pytest.mark.field(43)
def test_an_expanded_record_keeps_the_focus_when_the_timeline_grows(
    visit: Callable[..., User], parked_system: System
) -> None:
    id = parked_id(parked_system)
    user = visit(parked_system.url, f"#/sagas/{id}").wait_for_connection()
    summary = user.drawer().locator("summary").first
    summary.focus()
    user.page.keyboard.press("Enter")
    lines = user.drawer().locator(".timeline li")
    before = lines.count()
    post(parked_system, "/api/errors/redrive", {"ids": [id]})
    expect(lines.nth(before)).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    expect(user.drawer().locator("summary").first).to_be_focused()


@pytest.mark.field(43)
@pytest.mark.parametrize("button", ["Redrive all…", "Roll back all…"])
def test_the_dialog_of_a_bulk_action_starts_at_cancel_and_keeps_the_focus(
    visit: Callable[..., User], parked_system: System, button: str, now: Callable[[str], None]
) -> None:
    user = visit(parked_system.url, "#/errors").wait_for_connection()
    opener = user.page.get_by_role("button", name=button)
    opener.focus()
    user.page.keyboard.press("Enter")
    dialog = user.page.locator("dialog.ask")
    expect(dialog.get_by_label("Messages per second")).to_have_value("20")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    for key in ["Tab"] * 6 + ["Shift+Tab"] * 9:
        user.page.keyboard.press(key)
        assert dialog.evaluate("e => e.contains(document.activeElement)"), f"{key}: {focused_element(user)}"
    user.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    opener.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    user.page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    now(f"{button}: the dialog opens with the focus on Cancel, at 20 messages a second")


@pytest.mark.field(43)
def test_a_bulk_redrive_sends_20_messages_a_second_and_shows_progress(
    visit: Callable[..., User], parked_system: System
) -> None:
    user = visit(parked_system.url, "#/errors").wait_for_connection()
    requests: list[dict[str, Any]] = []

    def answer(route: Route) -> None:
        body = route.request.post_data_json or {}
        count = len(body.get("ids", range(150)))
        if not body.get("dry_run"):
            requests.append(body)
        route.fulfill(json={"count": count, "dry_run": body.get("dry_run", False)})

    names = [{"name": f"notify[0]@{n}"} for n in range(150)]
    user.page.route("**/api/errors/redrive", answer)
    user.page.route(re.compile("limit=500"), lambda route: route.fulfill(json={"items": names, "next": None}))
    user.page.get_by_role("button", name="Redrive all…").click()
    dialog = user.page.locator("dialog.ask")
    expect(dialog).to_contain_text("about 8 s; keep this page open")
    tab_to(user, "dialog.ask [type=submit]")
    focused = record_focus(user)
    user.page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("80 of 150 sent")
    expect(user.page.locator(".errors > .said")).to_have_text("150 messages redriven.")
    assert "body" not in focused()
    assert [len(body["ids"]) for body in requests] == [40, 40, 40, 30]
    assert {body["rate"] for body in requests} == {20}


@pytest.mark.field(43)
def test_the_focus_stays_in_the_view_when_the_last_error_is_resolved(
    visit: Callable[..., User], parked_system: System
) -> None:
    user = visit(parked_system.url, "#/errors").wait_for_connection()
    expect(user.page.locator(".group")).to_have_count(1)
    tab_to(user, ".l-toggle")
    user.page.keyboard.press("Enter")
    tab_to(user, ".letter button")
    focused = record_focus(user)
    user.page.route(re.compile(r"/api/errors\?"), no_errors)
    user.page.route("**/api/errors/redrive", lambda route: route.fulfill(json={"count": 1, "dry_run": False}))
    user.page.keyboard.press("Enter")
    expect(user.page.get_by_text("No errors.")).to_be_visible()
    assert "body" not in focused()
    expect(user.page.locator(".errors > .said")).to_be_focused()


def no_errors(route: Route) -> None:
    """Answer with an empty list of errors."""
    route.fulfill(body=json.dumps({"items": [], "total": 0, "next": None}), content_type="application/json")


@pytest.mark.field(43)
@pytest.mark.parametrize(("view", "link"), [("order", ".names.right a"), ("live", ".arrival a")])
def test_a_link_keeps_the_focus_when_the_view_is_rendered_again(user: User, view: str, link: str) -> None:
    for _ in range(2):
        user.wait_for_arrival(user.onboard_by_api())
    user.page.goto(f"{user.page.url.split('#')[0]}#/{view}")
    user.page.locator(link).first.focus()
    href = user.page.locator(":focus").get_attribute("href") or ""
    focused = record_focus(user)
    new_id = user.onboard_by_api()
    expect(user.page.locator(f".view.{view} [data-id='{new_id}']").first).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    expect(user.page.locator(":focus")).to_have_attribute("href", href)
    assert "body" not in focused()


@pytest.mark.field(43)
def test_the_link_of_a_running_saga_keeps_the_focus_when_it_completes(user: User, shared_system: System) -> None:
    notifier = shared_system.child("agents:notifier")
    notifier.suspend()
    try:
        id = user.onboard_by_api()
        user.page.goto(f"{user.page.url.split('#')[0]}#/users?q={id}")
        row = user.page.locator(f".users-table [data-id='{id}']")
        expect(row).to_contain_text("Running")
        row.get_by_role("link").focus()
        focused = record_focus(user)
    finally:
        notifier.resume()
    expect(row).to_contain_text("Completed", timeout=SAGA_TIMEOUT_MS)
    expect(row.get_by_role("link")).to_be_focused()
    assert "body" not in focused()
