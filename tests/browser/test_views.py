"""The tabs Users, Order, System and Errors, and the drawer."""

import re
from collections.abc import Callable
from urllib.error import HTTPError
from uuid import uuid4

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from devtools.wait import until
from tests.browser.console_api import get, post
from tests.browser.user import SAGA_TIMEOUT_MS, User


@pytest.fixture(scope="module")
def completed_user(shared_system: System) -> tuple[str, str]:
    """Name and saga id of a user who has been onboarded."""
    name = f"Grace {uuid4().hex[:6]}"
    id = onboard(shared_system, {"name": name, "email": "grace@example.com", "department": "Engineering"})
    until(lambda: state(shared_system, id) == "completed", 30, "the saga did not complete")
    return name, id


def onboard(system: System, body: dict[str, str]) -> str:
    """Onboard a user without the page. Returns the saga id."""
    return str(post(system, "/api/users", body)["id"])


def state(system: System, id: str) -> str:
    """The state of a saga; "unknown" if the console has not read it yet."""
    try:
        return str(get(system, f"/api/sagas/{id}")["state"])
    except HTTPError:
        return "unknown"


def test_users_are_found_by_name_and_the_url_keeps_the_search(user: User, completed_user: tuple[str, str]) -> None:
    name, _ = completed_user
    user.open_tab("Users")
    user.page.get_by_role("searchbox").fill(name[-6:])
    expect(user.page).to_have_url(re.compile(rf"#/users\?q={name[-6:]}$"))
    rows = user.page.locator(".users-table tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(name)
    expect(rows).to_contain_text("Completed")
    user.page.reload()
    expect(user.page.get_by_role("searchbox")).to_have_value(name[-6:])
    expect(rows).to_have_count(1)


def test_a_search_without_matches_shows_a_message(user: User) -> None:
    user.open_tab("Users")
    user.page.get_by_role("searchbox").fill("no user has this name")
    expect(user.page.get_by_text("No matching users.")).to_be_visible()


def test_a_search_shows_a_first_new_match_and_offers_later_ones(user: User, shared_system: System) -> None:
    name = f"Late {uuid4().hex[:6]}"
    user.open_tab("Users")
    user.page.get_by_role("searchbox").fill(name[-6:])
    expect(user.page.get_by_text("No matching users.")).to_be_visible()
    rows = user.page.locator(".users-table tbody tr")
    onboard(shared_system, {"name": name, "email": "late@example.com", "department": "Sales"})
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Completed")
    onboard(shared_system, {"name": f"{name} junior", "email": "later@example.com", "department": "Sales"})
    user.button("1 new · show").click()
    expect(rows).to_have_count(2)


def test_users_are_paged_and_sorted(user: User) -> None:
    tag = uuid4().hex[:6]
    lines = "\n".join(f"Page {tag} {n:02},page{n}@example.com,Sales" for n in range(60))
    user.choose_csv(f"name,email,department\n{lines}\n")
    expect(user.page.locator("#new-answer")).to_contain_text("60 users")
    user.open_tab("Users")
    user.page.get_by_role("searchbox").fill(tag)
    user.page.get_by_role("columnheader", name="User").get_by_role("button").click()
    names = user.page.locator(".users-table tbody .name")
    expect(names).to_have_count(50)
    expect(names.first).to_have_text(f"Page {tag} 00")
    expect(user.page.locator(".users .range")).to_have_text(re.compile("1–50 of 60"))
    user.button("Next").click()
    expect(names).to_have_count(10)
    expect(names.last).to_have_text(f"Page {tag} 59")
    expect(user.button("Next")).to_be_disabled()
    user.button("Previous").click()
    expect(names).to_have_count(50)
    user.page.get_by_role("columnheader", name="User").get_by_role("button").click()
    expect(names.first).to_have_text(f"Page {tag} 59")


def test_users_are_filtered_by_state(user: User, completed_user: tuple[str, str]) -> None:
    user.open_tab("Users")
    user.page.get_by_role("searchbox").fill(completed_user[0][-6:])
    user.page.get_by_label("State").select_option("rolled-back")
    expect(user.page.get_by_text("No matching users.")).to_be_visible()
    user.page.get_by_label("State").select_option("completed")
    expect(user.page.locator(".users-table tbody tr")).to_have_count(1)


@pytest.mark.field(44)
def test_the_drawer_names_missing_records_and_the_searched_range(
    completed_user: tuple[str, str], visit: Callable[..., User], shared_system: System
) -> None:
    _, id = completed_user
    page = visit(shared_system.url).page

    def answer_with_missing_records(route: Route) -> None:
        answer = route.fetch()
        trace = answer.json()
        trace["searched"] = {"around_s": 10.0, "records": 1234, "missing": ["new-user", "authorize"]}
        route.fulfill(response=answer, json=trace)

    page.route(f"**/api/sagas/{id}/trace", answer_with_missing_records)
    page.goto(f"{shared_system.url}/#/sagas/{id}")
    sentence = "Not found: a record on new-user, authorize. Searched 10.0 s before and after each step (1,234 records)."
    expect(page.get_by_text(sentence)).to_be_visible()


def test_a_link_to_a_saga_opens_the_drawer_with_its_timeline(
    completed_user: tuple[str, str], visit: Callable[..., User], shared_system: System
) -> None:
    name, id = completed_user
    drawer = visit(shared_system.url, f"#/sagas/{id}").drawer()
    expect(drawer.get_by_role("heading", name=name)).to_be_visible()
    expect(drawer).to_contain_text("Completed in")
    expect(drawer).to_contain_text("git, ci, cloud")
    timeline = drawer.locator(".timeline")
    for text in ("Device assigned", "Access granted", "E-mail sent", "Saga completed"):
        expect(timeline).to_contain_text(text)
    for topic in ("new-user", "authorize", "notify", "notified", "provisioner-sagas-changelog"):
        expect(timeline.get_by_text(re.compile(rf"^{topic}\[\d+\]@\d+$")).first).to_be_visible()


def test_a_raw_record_is_shown_when_it_is_expanded(
    completed_user: tuple[str, str], visit: Callable[..., User], shared_system: System
) -> None:
    user = visit(shared_system.url, f"#/sagas/{completed_user[1]}")
    user.drawer().locator("summary").first.click()
    expect(user.drawer().locator("pre").first).to_contain_text('"topic": "new-user"')


def test_escape_closes_the_drawer_and_restores_the_focus(
    completed_user: tuple[str, str], visit: Callable[..., User], shared_system: System
) -> None:
    name, id = completed_user
    user = visit(shared_system.url, f"#/users?q={id}")
    link = user.page.locator(".users-table").get_by_role("link", name=name)
    link.focus()
    user.page.keyboard.press("Enter")
    expect(user.drawer().get_by_role("heading", name=name)).to_be_focused()
    user.page.keyboard.press("Escape")
    expect(user.page.locator("#drawer")).to_be_hidden()
    expect(link).to_be_focused()


def test_arrow_keys_in_the_drawer_open_the_next_and_previous_saga(user: User, completed_user: tuple[str, str]) -> None:
    user.press_new_user()
    user.open_tab("Users")
    user.page.locator(".users-table tbody tr").nth(1).wait_for()
    first, second = user.page.locator(".users-table tbody .name").all_inner_texts()[:2]
    user.page.locator(".users-table tbody a").first.click()
    heading = user.drawer().get_by_role("heading", level=2)
    expect(heading).to_have_text(first)
    user.page.keyboard.press("ArrowDown")
    expect(heading).to_have_text(second)
    user.page.keyboard.press("ArrowUp")
    expect(heading).to_have_text(first)


def test_a_link_to_an_unknown_saga_shows_a_message(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, "#/sagas/no-such-saga")
    expect(user.drawer().get_by_role("heading", name="Saga not found")).to_be_visible()
    user.page.keyboard.press("Escape")
    expect(user.page.locator("#drawer")).to_be_hidden()


def test_the_drawer_follows_a_running_saga(user: User) -> None:
    id = user.press_new_user()
    user.page.locator("#new-answer a").click()
    expect(user.drawer().locator(".timeline")).to_contain_text("Saga completed", timeout=SAGA_TIMEOUT_MS)
    expect(user.drawer()).to_contain_text("Completed in")
    user.page.keyboard.press("Escape")
    user.wait_for_arrival(id)


def test_the_order_tab_draws_a_line_for_each_finished_saga(user: User) -> None:
    user.button("Ten new users").click()
    user.page.locator(".arrival").nth(9).wait_for(timeout=SAGA_TIMEOUT_MS)
    user.open_tab("Order")
    expect(user.page.locator(".order .intro").first).to_contain_text("finished in a different position")
    lines = user.page.locator(".lines path")
    assert lines.count() >= 10
    assert user.page.locator(".names.left li").count() == user.page.locator(".names.right li").count() == lines.count()


def test_the_system_tab_shows_that_all_four_services_are_up(user: User) -> None:
    user.open_tab("System")
    for service in ("Provisioner", "Authorizer", "Notifier", "Console"):
        expect(user.page.get_by_role("region", name=service, exact=True)).to_contain_text("up")
    expect(user.page.get_by_role("region", name="Broker")).to_contain_text("in memory")


def test_without_errors_the_errors_tab_shows_a_message(user: User) -> None:
    user.open_tab("Errors")
    expect(user.page.get_by_text("No errors.")).to_be_visible()
