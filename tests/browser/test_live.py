"""The Live tab: running sagas and arrivals, with the trace on and off."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from devtools.system import System
from tests.browser.user import SAGA_TIMEOUT_MS, User


def test_with_the_trace_on_a_saga_moves_through_all_lanes_and_arrives(user: User) -> None:
    user.record_token_positions()
    id = user.press_new_user()
    row = user.row(id)
    expect(row).to_be_visible()
    expect(row.locator(".lane-0 .fact")).to_have_text(re.compile(r"^[A-Z]{2}-"))
    expect(row.locator(".lane-1 .fact")).not_to_be_empty()
    expect(row.locator(".lane-2 .fact")).to_have_text("e-mail sent")
    expect(row).to_have_attribute("data-state", "completed", timeout=SAGA_TIMEOUT_MS)
    expect(user.wait_for_arrival(id)).to_contain_text(re.compile(r"\d s"))
    expect(row).to_have_count(0)
    positions = user.token_positions()[id]
    assert positions == sorted(positions), f"the token moved backwards: {positions}"
    assert len(positions) > 10, f"the token moved in at most 10 frames: {positions}"


def test_with_the_trace_off_only_the_result_is_shown(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="off").wait_for_connection()
    user.record_token_positions()
    id = user.press_new_user()
    expect(user.wait_for_arrival(id)).to_contain_text(re.compile(r"\d s"))
    assert user.token_positions() == {}
    expect(user.page.locator("#trace-says")).to_contain_text("Only results")


def test_ten_simultaneous_users_arrive_exactly_once_each(user: User) -> None:
    user.button("Ten new users").click()
    expect(user.page.locator("#new-answer")).to_contain_text("10 users")
    expect(user.page.locator(".run").nth(9)).to_be_attached()
    ids = [row.get_attribute("data-id") for row in user.page.locator(".run").all()]
    for id in ids:
        user.wait_for_arrival(id or "")
    arrived_ids = [line.get_attribute("data-id") for line in user.page.locator(".arrival").all()]
    assert len(arrived_ids) == len(set(arrived_ids))


def test_a_row_keeps_its_place_until_it_disappears(user: User) -> None:
    user.button("Ten new users").click()
    expect(user.page.locator(".run").nth(9)).to_be_attached()
    moved = user.page.evaluate(
        """async () => {
            const positions = new Map();
            const moved = [];
            const end = performance.now() + 2500;
            while (performance.now() < end) {
                for (const row of document.querySelectorAll(".run")) {
                    const y = row.style.transform;
                    if ((positions.get(row.dataset.id) ?? y) !== y) moved.push(row.dataset.id);
                    positions.set(row.dataset.id, y);
                }
                await new Promise(requestAnimationFrame);
            }
            return moved;
        }"""
    )
    assert moved == []


def test_a_denied_saga_is_rolled_back_and_shows_the_reason(user: User) -> None:
    user.submit_form(name="Jo Juggler", email="jo@example.com", department="Juggling")
    id = user.accepted_id()
    expect(user.row(id)).to_have_attribute(
        "data-state", re.compile("rolling-back|rolled-back"), timeout=SAGA_TIMEOUT_MS
    )
    expect(user.row(id).locator(".lane-1 .fact")).to_have_text("denied")
    arrival = user.wait_for_arrival(id)
    expect(arrival).to_contain_text("rolled back")
    expect(arrival).to_have_attribute("title", re.compile("Juggling"))


def test_trace_mode_has_a_shortcut_and_is_kept_across_reloads(user: User) -> None:
    expect(user.trace_switch()).to_be_checked()
    user.page.keyboard.press("t")
    expect(user.trace_switch()).not_to_be_checked()
    user.page.reload()
    expect(user.trace_switch()).not_to_be_checked()
    user.trace_switch().click()
    expect(user.trace_switch()).to_be_checked()
    id = user.press_new_user()
    expect(user.row(id)).to_be_visible()


def test_switching_the_trace_on_shows_sagas_that_already_run(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="off").wait_for_connection()
    id = user.press_new_user()
    user.trace_switch().click()
    expect(user.row(id)).to_be_visible()
    user.wait_for_arrival(id)


def test_the_department_filter_hides_other_departments(user: User) -> None:
    user.submit_form(name="Sal Sales", email="sal@example.com", department="Sales")
    sales_id = user.accepted_id()
    user.wait_for_arrival(sales_id)
    user.page.locator("#department").select_option("Finance")
    expect(user.arrival(sales_id)).to_have_count(0)
    finance_id = user.press_new_user()
    assert user.fetch(f"/api/sagas/{finance_id}")["user"]["department"] == "Finance"
    user.wait_for_arrival(finance_id)


def test_the_header_shows_figures_and_the_footer_the_broker(user: User) -> None:
    user.press_new_user()
    expect(user.page.locator("#in-flight")).to_have_text(re.compile(r"^\d+$"))
    expect(user.page.locator("#footer")).to_contain_text("In memory: lost when the broker stops.")
    expect(user.page.locator("#p50")).to_have_text(re.compile(r"\d"), timeout=SAGA_TIMEOUT_MS)
    expect(user.page.locator("#footer")).to_contain_text("From Kafka to this page in")


def test_more_than_sixty_running_sagas_are_shown_as_flows(user: User) -> None:
    lines = "\n".join(f"Flow {n},flow{n}@example.com,Support" for n in range(180))
    user.choose_csv(f"name,email,department\n{lines}\n")
    expect(user.page.locator(".swarm")).to_contain_text("shown as flows")
    expect(user.page.locator("#in-flight")).to_have_text(re.compile(r"^\d{2,}$"))
    expect(user.page.locator(".station .flow").first).to_contain_text("/s")
    assert user.page.locator(".run").count() <= 20
    expect(user.page.locator(".swarm")).to_be_hidden(timeout=SAGA_TIMEOUT_MS)
