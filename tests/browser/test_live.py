"""Watching users being onboarded, with the trace on and off."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from devtools.system import System
from tests.browser.user import SAGA_MS, User


def test_with_the_trace_on_a_new_user_is_seen_travelling_through_all_lanes_and_arrives(user: User) -> None:
    user.watch_rows()
    id = user.press_new_user()
    row = user.row(id)
    expect(row).to_be_visible()
    expect(row.locator(".lane-0 .fact")).to_have_text(re.compile(r"^[A-Z]{2}-"))
    expect(row.locator(".lane-1 .fact")).not_to_be_empty()
    expect(row.locator(".lane-2 .fact")).to_have_text("e-mail sent")
    expect(row).to_have_attribute("data-state", "completed", timeout=SAGA_MS)
    expect(user.sees_arrival(id)).to_contain_text(re.compile(r"\d s"))
    expect(row).to_have_count(0)
    places = user.seen()[id]
    assert places == sorted(places), f"the token went back: {places}"
    assert len(places) > 10, f"the token jumped: {places}"


def test_with_the_trace_off_only_the_result_is_seen(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="off").connected()
    user.watch_rows()
    id = user.press_new_user()
    expect(user.sees_arrival(id)).to_contain_text(re.compile(r"\d s"))
    assert user.seen() == {}
    expect(user.page.locator("#trace-says")).to_contain_text("Only results")


def test_ten_at_once_all_arrive_each_once(user: User) -> None:
    user.button("Ten new users").click()
    expect(user.page.locator("#new-answer")).to_contain_text("10 users")
    expect(user.page.locator(".run").nth(9)).to_be_attached()
    ids = [row.get_attribute("data-id") for row in user.page.locator(".run").all()]
    for id in ids:
        user.sees_arrival(id or "")
    board = [line.get_attribute("data-id") for line in user.page.locator(".arrival").all()]
    assert len(board) == len(set(board))


def test_a_row_stays_where_it_is_until_it_leaves(user: User) -> None:
    user.button("Ten new users").click()
    expect(user.page.locator(".run").nth(9)).to_be_attached()
    moved = user.page.evaluate(
        """async () => {
            const places = new Map();
            const moved = [];
            const end = performance.now() + 2500;
            while (performance.now() < end) {
                for (const row of document.querySelectorAll(".run")) {
                    const y = row.style.transform;
                    if ((places.get(row.dataset.id) ?? y) !== y) moved.push(row.dataset.id);
                    places.set(row.dataset.id, y);
                }
                await new Promise(requestAnimationFrame);
            }
            return moved;
        }"""
    )
    assert moved == []


def test_a_department_without_a_policy_sends_the_user_back_and_says_why(user: User) -> None:
    user.fill_form(name="Jo Juggler", email="jo@example.com", department="Juggling")
    id = user.accepted()
    expect(user.row(id)).to_have_attribute("data-state", re.compile("rolling-back|rolled-back"), timeout=SAGA_MS)
    expect(user.row(id).locator(".lane-1 .fact")).to_have_text("denied")
    arrival = user.sees_arrival(id)
    expect(arrival).to_contain_text("rolled back")
    expect(arrival).to_have_attribute("title", re.compile("Juggling"))


def test_trace_mode_is_a_switch_with_a_key_and_is_remembered(user: User) -> None:
    expect(user.trace_switch()).to_be_checked()
    user.page.keyboard.press("t")
    expect(user.trace_switch()).not_to_be_checked()
    user.page.reload()
    expect(user.trace_switch()).not_to_be_checked()
    user.trace_switch().click()
    expect(user.trace_switch()).to_be_checked()
    id = user.press_new_user()
    expect(user.row(id)).to_be_visible()


def test_switching_the_trace_on_shows_who_is_under_way_already(
    visit: Callable[..., User], shared_system: System
) -> None:
    user = visit(shared_system.url, trace="off").connected()
    id = user.press_new_user()
    user.trace_switch().click()
    expect(user.row(id)).to_be_visible()
    user.sees_arrival(id)


def test_the_department_filter_hides_the_others(user: User) -> None:
    user.fill_form(name="Sal Sales", email="sal@example.com", department="Sales")
    sales = user.accepted()
    user.sees_arrival(sales)
    user.page.locator("#department").select_option("Finance")
    expect(user.arrival(sales)).to_have_count(0)
    finance = user.press_new_user()
    assert user.ask(f"/api/sagas/{finance}")["user"]["department"] == "Finance"
    user.sees_arrival(finance)


def test_the_figures_at_the_top_and_the_footer_say_what_is(user: User) -> None:
    user.press_new_user()
    expect(user.page.locator("#in-flight")).to_have_text(re.compile(r"^\d+$"))
    expect(user.page.locator("#footer")).to_contain_text("In memory: lost when the broker stops.")
    expect(user.page.locator("#p50")).to_have_text(re.compile(r"\d"), timeout=SAGA_MS)
    expect(user.page.locator("#footer")).to_contain_text("From Kafka to this page in")


def test_more_than_sixty_in_motion_turn_into_flows_and_the_page_says_so(user: User) -> None:
    lines = "\n".join(f"Flow {n},flow{n}@example.com,Support" for n in range(180))
    user.choose_csv(f"name,email,department\n{lines}\n")
    expect(user.page.locator(".swarm")).to_contain_text("shown as flows")
    expect(user.page.locator("#in-flight")).to_have_text(re.compile(r"^\d{2,}$"))
    expect(user.page.locator(".station .flow").first).to_contain_text("/s")
    assert user.page.locator(".run").count() <= 20
    expect(user.page.locator(".swarm")).to_be_hidden(timeout=SAGA_MS)
