"""The page while something fails: parked and overdue sagas, retries, rollbacks, and a console that is killed."""

import json
import re
import urllib.request
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from devtools.system import System
from devtools.wait import free_port
from tests.browser.user import SAGA_TIMEOUT_MS, User


def test_a_parked_saga_is_marked_on_its_row_and_listed_under_errors(
    visit: Callable[..., User], start_system: Callable[..., System]
) -> None:
    user = visit(start_system(lag="0.1-0.2", error_rate=1).url, trace="on").wait_for_connection()
    id = user.press_new_user()
    expect(user.row(id)).to_have_attribute("data-state", "parked", timeout=SAGA_TIMEOUT_MS)
    expect(user.row(id)).to_contain_text("parked")
    expect(user.page.locator("#error-count")).to_have_text("1")
    user.open_tab("Errors")
    expect(user.page.locator(".group")).to_contain_text("Provisioner, provision")
    line = user.page.locator(".errors-table tbody tr:not(.l-opened)")
    expect(line).to_have_count(1)
    expect(line).to_contain_text(re.compile(r"new-user\[\d+\]@\d+"))
    line.get_by_role("link").click()
    expect(user.drawer()).to_contain_text("Parked")
    expect(user.drawer()).to_contain_text("waiting for an operator")


def test_the_row_shows_that_a_failed_step_is_retried(
    visit: Callable[..., User], start_system: Callable[..., System]
) -> None:
    user = visit(start_system(lag="0.3-0.5", flaky_rate=0.6, seed=7).url, trace="on").wait_for_connection()
    user.button("Ten new users").click()
    expect(user.page.locator(".run.retrying").first).to_contain_text(re.compile(r"attempt \d of \d"))


def test_a_saga_shows_the_time_to_its_next_attempt_and_becomes_overdue(
    visit: Callable[..., User], start_system: Callable[..., System]
) -> None:
    system = start_system(lag="0-0.1", deadline=1, mail=f"smtp://127.0.0.1:{free_port()}")
    user = visit(system.url, trace="on").wait_for_connection()
    id = user.press_new_user()
    expect(user.row(id)).to_contain_text(re.compile(r"attempt [2-5] of 16 in \d s"))
    user.page.goto(f"{system.url}/#/sagas/{id}")
    timeline = user.drawer().locator(".timeline")
    expect(timeline).to_contain_text(re.compile(r"The Notifier retries in \d s \(attempt [2-5] of 16\): "))
    expect(timeline).to_contain_text(re.compile("Overdue at (authorize|notify)"), timeout=SAGA_TIMEOUT_MS)
    expect(timeline).to_contain_text("missed its deadline at")
    expect(user.drawer().locator(".drawer-state")).to_contain_text("Running, overdue")
    expect(timeline).to_contain_text(
        re.compile(r"The Notifier retries in [3-6]\d s \(attempt 6 of 16\): "), timeout=SAGA_TIMEOUT_MS
    )


def test_the_rollback_of_a_running_saga_is_shown_on_its_row(
    visit: Callable[..., User], start_system: Callable[..., System]
) -> None:
    user = visit(start_system(lag="2-3").url, trace="on").wait_for_connection()
    id = user.press_new_user()
    expect(user.row(id).locator(".lane-0 .fact")).to_have_text(re.compile(r"^[A-Z]{2}-"), timeout=SAGA_TIMEOUT_MS)
    user.row(id).get_by_role("link").click()
    user.drawer().get_by_role("button", name="Roll back…").click()
    dialog = user.page.locator("dialog.ask")
    expect(dialog).to_contain_text("Roll back the onboarding of")
    dialog.get_by_role("button", name="Roll back").click()
    expect(user.drawer().locator(".said")).to_contain_text("is being rolled back.")
    user.page.keyboard.press("Escape")
    expect(user.row(id).locator(".leg[data-outcome=cancelled]")).to_be_visible()
    expect(user.row(id).locator(".below")).to_be_visible()
    expect(user.row(id)).to_contain_text("cancelled by an operator")
    expect(user.wait_for_arrival(id)).to_contain_text("rolled back")


def test_the_page_reconnects_after_a_restart_and_misses_no_saga(
    visit: Callable[..., User], start_system: Callable[..., System]
) -> None:
    system = start_system(lag="0.2-0.4")
    user = visit(system.url, trace="on").wait_for_connection()
    id_before = user.press_new_user()
    user.wait_for_arrival(id_before)

    system.child("agents:console").kill()
    connection = user.page.locator("#connection")
    expect(connection).to_contain_text(re.compile(r"Connection lost at \d\d:\d\d:\d\d"))
    expect(connection).to_contain_text(re.compile("Reconnecting"))
    id_during = onboard_at_the_provisioner(system, "Una Outage")

    expect(connection).to_contain_text("Reconnected.", timeout=60_000)
    expect(user.wait_for_arrival(id_during)).to_contain_text("Una Outage")
    expect(user.arrival(id_before)).to_have_count(1)
    expect(connection).to_be_hidden()
    id_after = user.press_new_user()
    expect(user.row(id_after)).to_be_visible()
    user.wait_for_arrival(id_after)


def onboard_at_the_provisioner(system: System, name: str) -> str:
    """Onboard a user by a request to the Provisioner instead of the console. Returns the saga id."""
    body = {"name": name, "email": "missed@example.com", "department": "People"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{system.settings['provisioner_port']}/users",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["id"])


@pytest.mark.field(28)
def test_a_rolled_back_saga_can_be_started_again_under_a_new_id(
    visit: Callable[..., User], start_system: Callable[..., System]
) -> None:
    system = start_system(lag="0-0.1")
    body = json.dumps({"id": "ada", "name": "Ada", "email": "ada@example.com", "department": "Nowhere"}).encode()
    request = urllib.request.Request(f"{system.url}/api/users", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()
    user = visit(system.url, "#/sagas/ada")
    expect(user.drawer()).to_contain_text("Rolled back", timeout=SAGA_TIMEOUT_MS)
    user.drawer().get_by_role("button", name="Begin again").click()
    assert user.accepted_id() == "ada~2"
    user.page.goto(f"{system.url}/#/sagas/ada~2")
    expect(user.drawer()).to_contain_text("no policy for the department Nowhere", timeout=SAGA_TIMEOUT_MS)
    user.wait_until(lambda: user.fetch("/api/sagas/ada~2")["state"] == "rolled-back", 30, "ada~2 is not rolled back")
    assert user.fetch("/api/sagas/ada")["state"] == "rolled-back"
