"""Users, the drawer, Order, System: looking things up."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from devtools.wait import until
from tests.browser.user import User


@pytest.fixture(scope="module")
def grace(shared_system: System) -> tuple[str, str]:
    """Somebody who has been onboarded: name and id."""
    name = f"Grace {uuid4().hex[:6]}"
    id = company_post(shared_system, {"name": name, "email": "grace@example.com", "department": "Engineering"})
    until(lambda: saga(shared_system, id)["state"] == "completed", 30, "Grace is onboarded")
    return name, id


def company_post(system: System, body: dict[str, str]) -> str:
    """Onboard somebody without the page; answers the id."""
    request = Request(f"{system.url}/api/users", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["id"])


def saga(system: System, id: str) -> dict[str, Any]:
    """The row of a saga; empty while the console has not heard of it."""
    try:
        with urlopen(f"{system.url}/api/sagas/{id}", timeout=10) as answer:
            row: dict[str, Any] = json.load(answer)
            return row
    except HTTPError:
        return {"state": "unknown"}


def test_users_are_found_by_name_and_the_address_keeps_the_search(user: User, grace: tuple[str, str]) -> None:
    name, _ = grace
    user.go("Users")
    user.page.get_by_role("searchbox").fill(name[-6:])
    expect(user.page).to_have_url(re.compile(rf"#/users\?q={name[-6:]}$"))
    rows = user.page.locator(".users-table tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(name)
    expect(rows).to_contain_text("Completed")
    user.page.reload()
    expect(user.page.get_by_role("searchbox")).to_have_value(name[-6:])
    expect(rows).to_have_count(1)


def test_a_search_without_matches_says_so(user: User) -> None:
    user.go("Users")
    user.page.get_by_role("searchbox").fill("nobody is called this")
    expect(user.page.get_by_text("No matching users.")).to_be_visible()


def test_a_search_shows_the_first_match_as_it_comes_and_offers_later_ones(user: User, shared_system: System) -> None:
    name = f"Late {uuid4().hex[:6]}"
    user.go("Users")
    user.page.get_by_role("searchbox").fill(name[-6:])
    expect(user.page.get_by_text("No matching users.")).to_be_visible()
    rows = user.page.locator(".users-table tbody tr")
    company_post(shared_system, {"name": name, "email": "late@example.com", "department": "Sales"})
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Completed")
    company_post(shared_system, {"name": f"{name} junior", "email": "later@example.com", "department": "Sales"})
    user.button("1 new · show").click()
    expect(rows).to_have_count(2)


def test_users_are_paged_and_sorted(user: User) -> None:
    mark = uuid4().hex[:6]
    lines = "\n".join(f"Page {mark} {n:02},page{n}@example.com,Sales" for n in range(60))
    user.choose_csv(f"name,email,department\n{lines}\n")
    expect(user.page.locator("#new-answer")).to_contain_text("60 users")
    user.go("Users")
    user.page.get_by_role("searchbox").fill(mark)
    user.page.get_by_role("columnheader", name="User").get_by_role("button").click()
    names = user.page.locator(".users-table tbody .name")
    expect(names).to_have_count(50)
    expect(names.first).to_have_text(f"Page {mark} 00")
    expect(user.page.locator(".users .range")).to_have_text(re.compile("1–50 of 60"))
    user.button("Next").click()
    expect(names).to_have_count(10)
    expect(names.last).to_have_text(f"Page {mark} 59")
    expect(user.button("Next")).to_be_disabled()
    user.button("Previous").click()
    expect(names).to_have_count(50)
    user.page.get_by_role("columnheader", name="User").get_by_role("button").click()
    expect(names.first).to_have_text(f"Page {mark} 59")


def test_users_are_filtered_by_state(user: User, grace: tuple[str, str]) -> None:
    user.go("Users")
    user.page.get_by_role("searchbox").fill(grace[0][-6:])
    user.page.get_by_label("State").select_option("rolled-back")
    expect(user.page.get_by_text("No matching users.")).to_be_visible()
    user.page.get_by_label("State").select_option("completed")
    expect(user.page.locator(".users-table tbody tr")).to_have_count(1)


@pytest.mark.field(44)
def test_the_drawer_says_which_records_were_not_found_and_where_they_were_looked_for(
    grace: tuple[str, str], visit: Callable[..., User], shared_system: System
) -> None:
    _, id = grace
    page = visit(shared_system.url).page

    def without_requests(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        told["searched"] = {"around_s": 10.0, "records": 1234, "missing": ["new-user", "authorize"]}
        route.fulfill(response=answer, json=told)

    page.route(f"**/api/sagas/{id}/trace", without_requests)
    page.goto(f"{shared_system.url}/#/sagas/{id}")
    sentence = "Not found: a record on new-user, authorize. Searched 10.0 s before and after each step (1,234 records)."
    expect(page.get_by_text(sentence)).to_be_visible()


def test_a_link_to_a_saga_opens_the_drawer_with_its_timeline(
    grace: tuple[str, str], visit: Callable[..., User], shared_system: System
) -> None:
    name, id = grace
    drawer = visit(shared_system.url, f"#/sagas/{id}").drawer()
    expect(drawer.get_by_role("heading", name=name)).to_be_visible()
    expect(drawer).to_contain_text("Completed in")
    expect(drawer).to_contain_text("git, ci, cloud")
    story = drawer.locator(".timeline")
    for what in ("Device assigned", "Access granted", "E-mail sent", "Saga completed"):
        expect(story).to_contain_text(what)
    for topic in ("new-user", "authorize", "notify", "notified", "provisioner-sagas-changelog"):
        expect(story.get_by_text(re.compile(rf"^{topic}\[\d+\]@\d+$")).first).to_be_visible()


def test_the_raw_record_is_shown_on_demand(
    grace: tuple[str, str], visit: Callable[..., User], shared_system: System
) -> None:
    user = visit(shared_system.url, f"#/sagas/{grace[1]}")
    user.drawer().locator("summary").first.click()
    expect(user.drawer().locator("pre").first).to_contain_text('"topic": "new-user"')


def test_escape_closes_the_drawer_and_the_focus_goes_back(
    grace: tuple[str, str], visit: Callable[..., User], shared_system: System
) -> None:
    name, id = grace
    user = visit(shared_system.url, f"#/users?q={id}")
    link = user.page.locator(".users-table").get_by_role("link", name=name)
    link.focus()
    user.page.keyboard.press("Enter")
    expect(user.drawer().get_by_role("heading", name=name)).to_be_focused()
    user.page.keyboard.press("Escape")
    expect(user.page.locator("#drawer")).to_be_hidden()
    expect(link).to_be_focused()


def test_the_arrow_keys_go_to_the_next_and_the_previous_user(user: User, grace: tuple[str, str]) -> None:
    user.press_new_user()
    user.go("Users")
    user.page.locator(".users-table tbody tr").nth(1).wait_for()
    first, second = user.page.locator(".users-table tbody .name").all_inner_texts()[:2]
    user.page.locator(".users-table tbody a").first.click()
    heading = user.drawer().get_by_role("heading", level=2)
    expect(heading).to_have_text(first)
    user.page.keyboard.press("ArrowDown")
    expect(heading).to_have_text(second)
    user.page.keyboard.press("ArrowUp")
    expect(heading).to_have_text(first)


def test_a_link_to_a_saga_that_is_not_there_says_so(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, "#/sagas/no-such-saga")
    expect(user.drawer().get_by_role("heading", name="Saga not found")).to_be_visible()
    user.page.keyboard.press("Escape")
    expect(user.page.locator("#drawer")).to_be_hidden()


def test_the_drawer_follows_a_saga_that_is_under_way(user: User) -> None:
    id = user.press_new_user()
    user.page.locator("#new-answer a").click()
    expect(user.drawer().locator(".timeline")).to_contain_text("Saga completed", timeout=30_000)
    expect(user.drawer()).to_contain_text("Completed in")
    user.page.keyboard.press("Escape")
    user.sees_arrival(id)


def test_the_order_view_draws_a_line_for_everybody_who_finished(user: User) -> None:
    user.button("Ten new users").click()
    user.page.locator(".arrival").nth(9).wait_for(timeout=30_000)
    user.go("Order")
    expect(user.page.locator(".order .intro").first).to_contain_text("finished in a different position")
    lines = user.page.locator(".lines path")
    assert lines.count() >= 10
    assert user.page.locator(".names.left li").count() == user.page.locator(".names.right li").count() == lines.count()


def test_the_system_view_says_that_all_four_services_are_up(user: User) -> None:
    user.go("System")
    for service in ("Provisioner", "Authorizer", "Notifier", "Console"):
        expect(user.page.get_by_role("region", name=service, exact=True)).to_contain_text("up")
    expect(user.page.get_by_role("region", name="Broker")).to_contain_text("in memory")


def test_without_errors_the_errors_view_says_so(user: User) -> None:
    user.go("Errors")
    expect(user.page.get_by_text("No errors.")).to_be_visible()
