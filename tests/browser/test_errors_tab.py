"""The Errors tab: dead letters are grouped and shown, and an operator redrives sagas or rolls them back.

The sagas are parked at the Notifier: the mail server rejected their mails. During the tests it accepts mail.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from confluent_kafka import Producer
from playwright.sync_api import Locator, Route, expect

from devtools.system import System
from devtools.wait import free_port, until
from tests.browser.console_api import get, post
from tests.browser.contrast import low_contrast_texts
from tests.browser.focus import tab_to
from tests.browser.user import SAGA_TIMEOUT_MS, User
from tests.browser.viewports import PHONE

#: The number of users of each department. Tests that change sagas use different departments.
USERS = {"Engineering": 3, "Sales": 2, "Finance": 1, "People": 1, "Support": 4}
GARBAGE = b"\xff\xfe no JSON"


@dataclass
class ParkedSystem:
    """A running system, and the ids of its parked sagas by department."""

    system: System
    parked: dict[str, list[str]]

    @property
    def url(self) -> str:
        return self.system.url

    def state(self, id: str) -> str:
        """The state of a saga."""
        return str(get(self.system, f"/api/sagas/{id}")["state"])

    def wait_for_state(self, state: str, *ids: str) -> None:
        """Wait until these sagas are in this state."""
        until(lambda: all(self.state(id) == state for id in ids), 30, f"not all of {ids} became {state}")


class RejectingHandler(BaseRequestHandler):
    """Rejects each SMTP session permanently, so that the saga is parked after one attempt."""

    def handle(self) -> None:
        self.request.sendall(b"554 no SMTP service here\r\n")


@contextmanager
def rejecting_mail_server(port: int) -> Iterator[None]:
    """Run a mail server on this port that rejects everything."""
    ThreadingTCPServer.allow_reuse_address = True
    with ThreadingTCPServer(("127.0.0.1", port), RejectingHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def parked_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParkedSystem]:
    """A system whose sagas are all parked, and an unreadable dead letter. Its mail server accepts mail by now."""
    port = free_port()
    system = System(
        tmp_path_factory.mktemp("parked_system"), lag="0-0.1", mail=f"smtp://127.0.0.1:{port}", deadline=3600
    )
    mail = Controller(Sink(), hostname="127.0.0.1", port=port)
    try:
        system.ready()
        with rejecting_mail_server(port):
            parked = {department: onboard(system, department, count) for department, count in USERS.items()}
            send_garbage(system)
            until(lambda: dead_letters(system) == sum(USERS.values()) + 1, 60, "not all sagas were parked")
        mail.start()
        yield ParkedSystem(system, parked)
    finally:
        system.end()
        if mail.server is not None:
            mail.stop()


def dead_letters(system: System) -> int:
    """The number of dead letters that are not resolved."""
    total: int = get(system, "/api/errors?limit=1")["total"]
    return total


def onboard(system: System, department: str, count: int) -> list[str]:
    """Onboard this number of users of a department. Returns the saga ids."""
    users = [
        {"name": f"{department} {n}", "email": f"u{n}@example.com", "department": department} for n in range(count)
    ]
    ids: list[str] = post(system, "/api/users", users)["ids"]
    return ids


def send_garbage(system: System) -> None:
    """Produce a record that no service can read."""
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{system.settings['embedded_port']}"})
    producer.produce("authorize", GARBAGE, b"some-key", headers=[("source", b"an old client")])
    assert producer.flush(10) == 0


@pytest.fixture
def operator(visit: Callable[..., User], parked_system: ParkedSystem) -> User:
    """A user with the Errors tab open."""
    return visit(parked_system.url, "#/errors").wait_for_connection()


def filter_by_department(user: User, department: str) -> None:
    """Select a department in the header, which leaves one group of dead letters."""
    user.page.locator("#department").select_option(department)
    expect(user.page.locator(".group")).to_have_count(1)


def open_group(user: User, text: str) -> Locator:
    """The group of dead letters that contains a text. Expands it if it is collapsed."""
    group = user.page.locator(".group", has_text=text)
    head = group.get_by_role("button", expanded=False)
    expect(group).to_be_visible()
    if head.first.get_attribute("class") == "g-head":
        head.first.click()
    return group


def open_first_dead_letter(group: Locator) -> Locator:
    """Expand the first dead letter of a group. Returns its details."""
    group.locator(".l-toggle").first.click()
    expect(group.locator(".letter pre")).to_be_visible()
    return group.locator(".letter")


def dialog(user: User) -> Locator:
    """The confirmation dialog."""
    return user.page.locator("dialog.ask")


def status_line(user: User) -> Locator:
    """The line that reports the result of the last action."""
    return user.page.locator(".errors > .said")


def test_errors_are_grouped_with_their_count_and_an_example(operator: User) -> None:
    groups = operator.page.locator(".group")
    expect(groups).to_have_count(2)
    notifier = groups.filter(has_text="Notifier, notify")
    expect(notifier.locator(".g-count")).to_have_text(re.compile(r"^\d+$"))
    expect(notifier.locator(".g-reason")).not_to_be_empty()
    expect(notifier.locator(".g-times")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    expect(groups.filter(has_text="BadMessage")).to_contain_text("Authorizer, authorize")
    expect(operator.page.locator(".errors .intro")).to_contain_text("permanently failed messages in 2 groups.")


def test_a_dead_letter_shows_the_original_record_and_links_to_its_saga(
    operator: User, parked_system: ParkedSystem
) -> None:
    filter_by_department(operator, "Sales")
    letter = open_first_dead_letter(open_group(operator, "Notifier"))
    expect(letter).to_contain_text(re.compile(r"notify\[\d+\]@\d+"))
    expect(letter.locator("pre")).to_contain_text('"department": "Sales"')
    expect(letter.locator(".headers")).to_contain_text("ce_id")
    letter.get_by_role("link").click()
    expect(operator.page.locator("#drawer")).to_contain_text("waiting for an operator")
    operator.page.keyboard.press("Escape")
    expect(letter.locator("pre")).to_be_visible()


def test_an_unreadable_record_is_shown_as_bytes_and_has_no_rollback(operator: User) -> None:
    group = open_group(operator, "BadMessage")
    letter = open_first_dead_letter(group)
    expect(letter.locator("pre")).to_contain_text("ff fe 20 6e 6f 20 4a 53")
    expect(letter.locator("pre")).to_contain_text(".. no JSON")
    expect(letter.locator(".headers")).to_contain_text("an old client")
    expect(letter).to_contain_text("only be redriven")
    expect(group.get_by_role("button", name="Roll back")).to_have_count(0)
    before = group.locator(".l-toggle").inner_text()
    letter.get_by_role("button", name="Redrive").click()
    expect(status_line(operator)).to_contain_text(f"{before} redriven.")
    expect(group.locator(".l-toggle")).not_to_have_text(before, timeout=SAGA_TIMEOUT_MS)


def test_a_redriven_saga_completes(operator: User, parked_system: ParkedSystem) -> None:
    filter_by_department(operator, "Finance")
    operator.page.locator(".errors").get_by_label("Your name").fill("ana")
    open_first_dead_letter(open_group(operator, "Notifier")).get_by_role("button", name="Redrive").click()
    expect(status_line(operator)).to_contain_text("redriven by ana.")
    expect(operator.page.get_by_text("No errors.")).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    [id] = parked_system.parked["Finance"]
    parked_system.wait_for_state("completed", id)
    operator.page.goto(f"{parked_system.url}/#/sagas/{id}")
    expect(operator.page.locator(".timeline")).to_contain_text("Redriven by ana")
    expect(operator.page.locator(".timeline")).to_contain_text("Saga completed")


def test_a_bulk_redrive_shows_the_count_and_asks_for_confirmation(operator: User, parked_system: ParkedSystem) -> None:
    filter_by_department(operator, "Engineering")
    open_group(operator, "Notifier").get_by_role("button", name="Redrive 3…").click()
    expect(dialog(operator).get_by_role("heading", name="Redrive 3 messages parked at the Notifier?")).to_be_visible()
    dialog(operator).get_by_role("button", name="Cancel").click()
    expect(dialog(operator)).to_be_hidden()
    assert {parked_system.state(id) for id in parked_system.parked["Engineering"]} == {"parked"}
    open_group(operator, "Notifier").get_by_role("button", name="Redrive 3…").click()
    dialog(operator).get_by_label("Your name").fill("ana")
    dialog(operator).get_by_label("Messages per second").fill("0")
    dialog(operator).get_by_role("button", name="Redrive 3").click()
    expect(dialog(operator)).to_contain_text("1 to 500")
    dialog(operator).get_by_label("Messages per second").fill("50")
    dialog(operator).get_by_role("button", name="Redrive 3").click()
    expect(status_line(operator)).to_have_text("3 messages redriven by ana.")
    parked_system.wait_for_state("completed", *parked_system.parked["Engineering"])
    expect(operator.page.get_by_text("No errors.")).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    operator.page.reload()
    expect(operator.page.locator(".errors").get_by_label("Your name")).to_have_value("ana")


def test_a_parked_saga_is_rolled_back_from_the_drawer_after_confirmation(
    visit: Callable[..., User], parked_system: ParkedSystem
) -> None:
    [id] = parked_system.parked["People"]
    user = visit(parked_system.url, f"#/sagas/{id}").wait_for_connection()
    drawer = user.page.locator("#drawer")
    expect(drawer.locator(".why")).to_contain_text(re.compile("arked at notify: .+; waiting for an operator"))
    drawer.get_by_role("button", name="Roll back…").click()
    expect(dialog(user).get_by_role("heading")).to_have_text("Roll back the onboarding of People 0?")
    expect(dialog(user).get_by_role("button", name="Cancel")).to_be_focused()
    user.page.keyboard.press("Escape")
    expect(dialog(user)).to_be_hidden()
    expect(drawer.get_by_role("button", name="Roll back…")).to_be_focused()
    assert parked_system.state(id) == "parked"
    drawer.get_by_role("button", name="Roll back…").click()
    dialog(user).get_by_role("button", name="Roll back").click()
    expect(drawer.locator(".said")).to_contain_text("is being rolled back.")
    expect(drawer.locator(".drawer-state")).to_contain_text("Rolled back", timeout=SAGA_TIMEOUT_MS)
    for text in ("Cancelled by an operator", "Follow-up e-mail sent", "Access revoked", "Saga rolled back"):
        expect(drawer.locator(".timeline")).to_contain_text(text)
    expect(drawer.get_by_role("button", name="Redrive")).to_have_count(0)


def test_a_parked_saga_is_redriven_from_the_drawer(visit: Callable[..., User], parked_system: ParkedSystem) -> None:
    id = parked_system.parked["Support"][0]
    user = visit(parked_system.url, f"#/sagas/{id}").wait_for_connection()
    user.page.locator("#drawer").get_by_role("button", name="Redrive").click()
    expect(user.page.locator("#drawer .drawer-state")).to_contain_text("Completed", timeout=SAGA_TIMEOUT_MS)
    expect(user.page.locator("#drawer .timeline")).to_contain_text("Redriven by an operator")


def test_a_bulk_rollback_runs_all_compensations_of_each_saga(operator: User, parked_system: ParkedSystem) -> None:
    ids = [id for id in parked_system.parked["Support"] if parked_system.state(id) == "parked"]
    filter_by_department(operator, "Support")
    open_group(operator, "Notifier").get_by_role("button", name=f"Roll back {len(ids)}…").click()
    dialog(operator).get_by_label("Your name").fill("ana")
    dialog(operator).get_by_role("button", name=f"Roll back {len(ids)}").click()
    expect(status_line(operator)).to_contain_text("rolled back by ana.")
    parked_system.wait_for_state("rolled-back", *ids)
    expect(operator.page.get_by_text("No errors.")).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    operator.page.goto(f"{parked_system.url}/#/sagas/{ids[-1]}")
    timeline = operator.page.locator("#drawer .timeline")
    for text in ("Cancelled by ana", "Follow-up e-mail sent", "Access revoked", "Device returned"):
        expect(timeline).to_contain_text(text)
    expect(timeline.locator("li").last).to_contain_text("Saga rolled back")


def test_a_dead_letter_and_the_dialog_are_operated_by_keyboard_alone(operator: User) -> None:
    filter_by_department(operator, "Sales")
    tab_to(operator, ".l-toggle")
    operator.page.keyboard.press("Enter")
    tab_to(operator, ".letter .facts a")
    tab_to(operator, ".letter button")
    operator.page.keyboard.press("Shift+Tab")
    operator.page.locator(".g-body > .actions button").first.focus()
    operator.page.keyboard.press("Enter")
    expect(dialog(operator).get_by_role("button", name="Cancel")).to_be_focused()
    operator.page.keyboard.press("n")
    expect(operator.page.locator("#new-answer .accepted")).to_have_count(0)
    for _ in range(6):
        operator.page.keyboard.press("Tab")
        is_inside = operator.page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
        assert is_inside, "the focus left the dialog"
    operator.page.keyboard.press("Escape")
    expect(dialog(operator)).to_be_hidden()
    expect(operator.page.locator(".g-body > .actions button").first).to_be_focused()
    expect(operator.page.locator(".letter")).to_be_visible()


def test_a_refused_request_is_reported_next_to_its_button(operator: User) -> None:
    filter_by_department(operator, "Sales")
    group = open_group(operator, "Notifier")
    operator.page.route("**/api/errors/redrive", refuse)
    group.get_by_role("button", name="Redrive 2…").click()
    dialog(operator).get_by_role("button", name="Redrive 2").click()
    expect(dialog(operator).get_by_role("alert")).to_contain_text("The broker is unavailable")
    expect(dialog(operator).get_by_role("alert")).to_contain_text("nothing was sent")
    dialog(operator).get_by_role("button", name="Cancel").click()
    open_first_dead_letter(group).get_by_role("button", name="Redrive").click()
    expect(group.locator(".letter").get_by_role("alert")).to_contain_text("The broker is unavailable")
    expect(status_line(operator)).to_be_empty()


def refuse(route: Route) -> None:
    """Let dry runs pass, and answer all other requests with an error."""
    if (route.request.post_data_json or {}).get("dry_run"):
        route.continue_()
        return
    detail = "nothing was sent, then the broker became unavailable"
    problem = {"title": "The broker is unavailable", "status": 503, "detail": detail}
    route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem))


def test_a_bulk_redrive_keeps_the_chosen_rate_and_can_be_stopped(operator: User) -> None:
    batch_sizes: list[int] = []

    def answer(route: Route) -> None:
        body = route.request.post_data_json or {}
        count = len(body.get("ids", range(40)))
        if not body.get("dry_run"):
            batch_sizes.append(count)
        route.fulfill(json={"count": count, "dry_run": body.get("dry_run", False)})

    names = [{"name": f"notify[0]@{n}"} for n in range(40)]
    operator.page.route("**/api/errors/redrive", answer)
    operator.page.route(re.compile("limit=500"), lambda route: route.fulfill(json={"items": names, "next": None}))
    operator.page.get_by_role("button", name="Redrive all…").click()
    dialog(operator).get_by_label("Messages per second").fill("2")
    expect(dialog(operator)).to_contain_text("about 20 s")
    dialog(operator).get_by_role("button", name="Redrive 40").click()
    expect(dialog(operator).get_by_role("status")).to_have_text("4 of 40 sent")
    dialog(operator).get_by_role("button", name="Stop").click()
    expect(status_line(operator)).to_have_text("Stopped. 8 messages redriven.")
    assert batch_sizes == [4, 4]


def test_users_in_trouble_are_counted_and_filtered(visit: Callable[..., User], parked_system: ParkedSystem) -> None:
    user = visit(parked_system.url, "#/users").wait_for_connection()
    filters = user.page.get_by_role("group", name="Quick filters")
    expect(filters.get_by_role("button", name=re.compile(r"In trouble \d+"))).to_be_visible()
    filters.get_by_role("button", name="In trouble").click()
    expect(user.page).to_have_url(re.compile(r"state=trouble"))
    rows = user.page.locator(".users-table tbody tr")
    expect(rows.filter(has_text="Sales 0")).to_contain_text("Parked")
    expect(rows.filter(has_text="Completed")).to_have_count(0)
    filters.get_by_role("button", name="Completed").click()
    expect(rows.filter(has_text="Parked")).to_have_count(0)
    expect(filters.get_by_role("button", name="Completed")).to_have_attribute("aria-pressed", "true")


def test_a_dead_letter_and_the_dialog_fit_on_a_phone(visit: Callable[..., User], parked_system: ParkedSystem) -> None:
    user = visit(parked_system.url, "#/errors", viewport=PHONE, has_touch=True).wait_for_connection()
    user.open_more()
    filter_by_department(user, "Sales")
    group = open_group(user, "Notifier")
    open_first_dead_letter(group)
    assert not user.scrolls_sideways()
    group.get_by_role("button", name="Roll back 2…").tap()
    confirm = dialog(user).get_by_role("button", name="Roll back 2")
    expect(confirm).to_be_in_viewport(ratio=1)
    assert not user.scrolls_sideways()
    dialog(user).get_by_role("button", name="Cancel").tap()
    user.page.goto(f"{parked_system.url}/#/sagas/{parked_system.parked['Sales'][0]}")
    expect(user.page.locator("#drawer").get_by_role("button", name="Redrive")).to_be_in_viewport(ratio=1)
    assert not user.scrolls_sideways()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_about_errors_has_sufficient_contrast(
    visit: Callable[..., User], parked_system: ParkedSystem, scheme: Any
) -> None:
    user = visit(parked_system.url, "#/errors", color_scheme=scheme, reduced_motion="reduce").wait_for_connection()
    group = open_group(user, "Notifier")
    open_first_dead_letter(group)
    assert low_contrast_texts(user) == []
    group.get_by_role("button", name="Roll back").first.click()
    expect(dialog(user).get_by_label("Your name")).to_be_visible()
    assert low_contrast_texts(user) == []
    user.page.keyboard.press("Escape")
    user.page.goto(f"{parked_system.url}/#/users?state=trouble")
    expect(user.page.locator(".users-table tbody tr").first).to_be_visible()
    assert low_contrast_texts(user) == []
    user.page.goto(f"{parked_system.url}/#/sagas/{parked_system.parked['Sales'][0]}")
    expect(user.page.locator("#drawer .why")).to_contain_text("arked at notify")
    assert low_contrast_texts(user) == []
