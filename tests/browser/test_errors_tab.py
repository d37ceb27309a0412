"""An operator in front of the page: why sagas are stuck, and how each is brought to an end.

The mail server took no mail from us while they were onboarded, so they are all parked at the Notifier; now it does.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from confluent_kafka import Producer
from playwright.sync_api import Locator, Route, expect

from devtools.system import System
from devtools.wait import free_port, until
from tests.browser.test_care import FAINT, PHONE, tab_to
from tests.browser.user import SAGA_MS, User

#: Each test has a department of its own, so that none takes another's dead letters away.
PEOPLE = {"Engineering": 3, "Sales": 2, "Finance": 1, "People": 1, "Support": 4}
GARBAGE = b"\xff\xfe no JSON"


class Company:
    """A running system with parked sagas, by department."""

    def __init__(self, system: System, parked: dict[str, list[str]]) -> None:
        self.system, self.parked, self.url = system, parked, system.url

    def state(self, id: str) -> str:
        """Of one saga."""
        return str(ask(self.url, f"/api/sagas/{id}")["state"])

    def reaches(self, state: str, *ids: str) -> None:
        """Wait until these sagas are in this state."""
        until(lambda: all(self.state(id) == state for id in ids), 30, f"{ids} are {state}")


def ask(url: str, path: str, body: Any = None) -> Any:
    """What the API answers."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{url}{path}", data, {"Content-Type": "application/json"}), timeout=10) as answer:
        return json.load(answer)


class Refusal(BaseRequestHandler):
    """A mail server that takes no mail from us: what it is asked to send is parked at once."""

    def handle(self) -> None:
        self.request.sendall(b"554 no SMTP service here\r\n")


@contextmanager
def refusing(port: int) -> Iterator[None]:
    """It listens on this port."""
    ThreadingTCPServer.allow_reuse_address = True
    with ThreadingTCPServer(("127.0.0.1", port), Refusal) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Users of each department are parked, and one message is none."""
    port = free_port()
    system = System(tmp_path_factory.mktemp("trouble"), lag="0-0.1", mail=f"smtp://127.0.0.1:{port}", deadline=3600)
    mail = Controller(Sink(), hostname="127.0.0.1", port=port)
    try:
        system.ready()
        with refusing(port):
            parked = {department: onboard(system, department, count) for department, count in PEOPLE.items()}
            send_garbage(system)
            until(lambda: waiting(system) == sum(PEOPLE.values()) + 1, 60, "all are parked")
        mail.start()
        yield Company(system, parked)
    finally:
        system.end()
        if mail.server is not None:
            mail.stop()


def waiting(system: System) -> int:
    """How many dead letters wait for somebody."""
    total: int = ask(system.url, "/api/errors?limit=1")["total"]
    return total


def onboard(system: System, department: str, count: int) -> list[str]:
    """The ids of so many new users."""
    users = [
        {"name": f"{department} {n}", "email": f"u{n}@example.com", "department": department} for n in range(count)
    ]
    ids: list[str] = ask(system.url, "/api/users", users)["ids"]
    return ids


def send_garbage(system: System) -> None:
    """A record that no service can read."""
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{system.settings['embedded_port']}"})
    producer.produce("authorize", GARBAGE, b"somebody", headers=[("source", b"an old client")])
    assert producer.flush(10) == 0


@pytest.fixture
def operator(visit: Callable[..., User], trouble: Company) -> User:
    """Somebody who looks at the dead letters."""
    return visit(trouble.url, "#/errors").connected()


def choose(user: User, department: str) -> None:
    """See only what concerns a department."""
    user.page.locator("#department").select_option(department)
    expect(user.page.locator(".group")).to_have_count(1)


def group(user: User, words: str) -> Locator:
    """Dead letters of one kind, opened."""
    found = user.page.locator(".group", has_text=words)
    head = found.get_by_role("button", expanded=False)
    expect(found).to_be_visible()
    if head.first.get_attribute("class") == "g-head":
        head.first.click()
    return found


def first_letter(found: Locator) -> Locator:
    """The first dead letter of a group, opened."""
    found.locator(".l-toggle").first.click()
    expect(found.locator(".letter pre")).to_be_visible()
    return found.locator(".letter")


def dialog(user: User) -> Locator:
    """The question."""
    return user.page.locator("dialog.ask")


def said(user: User) -> Locator:
    """What was done."""
    return user.page.locator(".errors > .said")


def test_the_errors_are_grouped_with_their_number_and_an_example(operator: User) -> None:
    groups = operator.page.locator(".group")
    expect(groups).to_have_count(2)
    notifier = groups.filter(has_text="Notifier, notify")
    expect(notifier.locator(".g-count")).to_have_text(re.compile(r"^\d+$"))
    expect(notifier.locator(".g-reason")).not_to_be_empty()
    expect(notifier.locator(".g-times")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    expect(groups.filter(has_text="BadMessage")).to_contain_text("Authorizer, authorize")
    expect(operator.page.locator(".errors .intro")).to_contain_text("permanently failed messages in 2 groups.")


def test_a_dead_letter_shows_the_original_its_headers_its_place_and_leads_to_its_saga(
    operator: User, trouble: Company
) -> None:
    choose(operator, "Sales")
    letter = first_letter(group(operator, "Notifier"))
    expect(letter).to_contain_text(re.compile(r"notify\[\d+\]@\d+"))
    expect(letter.locator("pre")).to_contain_text('"department": "Sales"')
    expect(letter.locator(".headers")).to_contain_text("ce_id")
    letter.get_by_role("link").click()
    expect(operator.page.locator("#drawer")).to_contain_text("waiting for an operator")
    operator.page.keyboard.press("Escape")
    expect(letter.locator("pre")).to_be_visible()


def test_bytes_that_are_no_text_are_shown_as_such_and_can_only_be_redriven(operator: User) -> None:
    found = group(operator, "BadMessage")
    letter = first_letter(found)
    expect(letter.locator("pre")).to_contain_text("ff fe 20 6e 6f 20 4a 53")
    expect(letter.locator("pre")).to_contain_text(".. no JSON")
    expect(letter.locator(".headers")).to_contain_text("an old client")
    expect(letter).to_contain_text("only be redriven")
    expect(found.get_by_role("button", name="Roll back")).to_have_count(0)
    before = found.locator(".l-toggle").inner_text()
    letter.get_by_role("button", name="Redrive").click()
    expect(said(operator)).to_contain_text(f"{before} redriven.")
    expect(found.locator(".l-toggle")).not_to_have_text(before, timeout=SAGA_MS)


def test_one_is_redriven_and_its_user_arrives(operator: User, trouble: Company) -> None:
    choose(operator, "Finance")
    operator.page.locator(".errors").get_by_label("Your name").fill("ana")
    first_letter(group(operator, "Notifier")).get_by_role("button", name="Redrive").click()
    expect(said(operator)).to_contain_text("redriven by ana.")
    expect(operator.page.get_by_text("No errors.")).to_be_visible(timeout=SAGA_MS)
    [id] = trouble.parked["Finance"]
    trouble.reaches("completed", id)
    operator.page.goto(f"{trouble.url}/#/sagas/{id}")
    expect(operator.page.locator(".timeline")).to_contain_text("Redriven by ana")
    expect(operator.page.locator(".timeline")).to_contain_text("Saga completed")


def test_many_are_counted_and_asked_for_before_they_are_redriven(operator: User, trouble: Company) -> None:
    choose(operator, "Engineering")
    group(operator, "Notifier").get_by_role("button", name="Redrive 3…").click()
    expect(dialog(operator).get_by_role("heading", name="Redrive 3 messages parked at the Notifier?")).to_be_visible()
    dialog(operator).get_by_role("button", name="Cancel").click()
    expect(dialog(operator)).to_be_hidden()
    assert {trouble.state(id) for id in trouble.parked["Engineering"]} == {"parked"}
    group(operator, "Notifier").get_by_role("button", name="Redrive 3…").click()
    dialog(operator).get_by_label("Your name").fill("ana")
    dialog(operator).get_by_label("Messages per second").fill("0")
    dialog(operator).get_by_role("button", name="Redrive 3").click()
    expect(dialog(operator)).to_contain_text("1 to 500")
    dialog(operator).get_by_label("Messages per second").fill("50")
    dialog(operator).get_by_role("button", name="Redrive 3").click()
    expect(said(operator)).to_have_text("3 messages redriven by ana.")
    trouble.reaches("completed", *trouble.parked["Engineering"])
    expect(operator.page.get_by_text("No errors.")).to_be_visible(timeout=SAGA_MS)
    operator.page.reload()
    expect(operator.page.locator(".errors").get_by_label("Your name")).to_have_value("ana")


def test_a_stuck_user_is_rolled_back_from_the_drawer_after_a_question(
    visit: Callable[..., User], trouble: Company
) -> None:
    [id] = trouble.parked["People"]
    user = visit(trouble.url, f"#/sagas/{id}").connected()
    drawer = user.page.locator("#drawer")
    expect(drawer.locator(".why")).to_contain_text(re.compile("arked at notify: .+; waiting for an operator"))
    drawer.get_by_role("button", name="Roll back…").click()
    expect(dialog(user).get_by_role("heading")).to_have_text("Roll back the onboarding of People 0?")
    expect(dialog(user).get_by_role("button", name="Cancel")).to_be_focused()
    user.page.keyboard.press("Escape")
    expect(dialog(user)).to_be_hidden()
    expect(drawer.get_by_role("button", name="Roll back…")).to_be_focused()
    assert trouble.state(id) == "parked"
    drawer.get_by_role("button", name="Roll back…").click()
    dialog(user).get_by_role("button", name="Roll back").click()
    expect(drawer.locator(".said")).to_contain_text("is being rolled back.")
    expect(drawer.locator(".drawer-state")).to_contain_text("Rolled back", timeout=SAGA_MS)
    for words in ("Cancelled by an operator", "Follow-up e-mail sent", "Access revoked", "Saga rolled back"):
        expect(drawer.locator(".timeline")).to_contain_text(words)
    expect(drawer.get_by_role("button", name="Redrive")).to_have_count(0)


def test_a_stuck_user_is_redriven_from_the_drawer(visit: Callable[..., User], trouble: Company) -> None:
    id = trouble.parked["Support"][0]
    user = visit(trouble.url, f"#/sagas/{id}").connected()
    user.page.locator("#drawer").get_by_role("button", name="Redrive").click()
    expect(user.page.locator("#drawer .drawer-state")).to_contain_text("Completed", timeout=SAGA_MS)
    expect(user.page.locator("#drawer .timeline")).to_contain_text("Redriven by an operator")


def test_a_whole_group_is_rolled_back_and_each_of_its_users_has_gone_all_the_way_back(
    operator: User, trouble: Company
) -> None:
    ids = [id for id in trouble.parked["Support"] if trouble.state(id) == "parked"]
    choose(operator, "Support")
    group(operator, "Notifier").get_by_role("button", name=f"Roll back {len(ids)}…").click()
    dialog(operator).get_by_label("Your name").fill("ana")
    dialog(operator).get_by_role("button", name=f"Roll back {len(ids)}").click()
    expect(said(operator)).to_contain_text("rolled back by ana.")
    trouble.reaches("rolled-back", *ids)
    expect(operator.page.get_by_text("No errors.")).to_be_visible(timeout=SAGA_MS)
    operator.page.goto(f"{trouble.url}/#/sagas/{ids[-1]}")
    story = operator.page.locator("#drawer .timeline")
    for words in ("Cancelled by ana", "Follow-up e-mail sent", "Access revoked", "Device returned"):
        expect(story).to_contain_text(words)
    expect(story.locator("li").last).to_contain_text("Saga rolled back")


def test_by_keyboard_alone_a_dead_letter_is_opened_and_the_question_asked_and_left(operator: User) -> None:
    choose(operator, "Sales")
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
        held = operator.page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
        assert held, "the focus left the question"
    operator.page.keyboard.press("Escape")
    expect(dialog(operator)).to_be_hidden()
    expect(operator.page.locator(".g-body > .actions button").first).to_be_focused()
    expect(operator.page.locator(".letter")).to_be_visible()


def test_what_the_server_refuses_is_said_where_it_was_asked_for(operator: User) -> None:
    choose(operator, "Sales")
    found = group(operator, "Notifier")
    operator.page.route("**/api/errors/redrive", refuse)
    found.get_by_role("button", name="Redrive 2…").click()
    dialog(operator).get_by_role("button", name="Redrive 2").click()
    expect(dialog(operator).get_by_role("alert")).to_contain_text("The broker is away")
    expect(dialog(operator).get_by_role("alert")).to_contain_text("nothing was sent")
    dialog(operator).get_by_role("button", name="Cancel").click()
    first_letter(found).get_by_role("button", name="Redrive").click()
    expect(found.locator(".letter").get_by_role("alert")).to_contain_text("The broker is away")
    expect(said(operator)).to_be_empty()


def refuse(route: Route) -> None:
    """Count, but send nothing."""
    if (route.request.post_data_json or {}).get("dry_run"):
        route.continue_()
        return
    detail = "nothing was sent, then the broker became unavailable"
    problem = {"title": "The broker is away", "status": 503, "detail": detail}
    route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem))


def test_many_go_at_the_pace_that_was_asked_for_and_can_be_stopped(operator: User) -> None:
    portions: list[int] = []

    def answer(route: Route) -> None:
        order = route.request.post_data_json or {}
        count = len(order.get("ids", range(40)))
        if not order.get("dry_run"):
            portions.append(count)
        route.fulfill(json={"count": count, "dry_run": order.get("dry_run", False)})

    names = [{"name": f"notify[0]@{n}"} for n in range(40)]
    operator.page.route("**/api/errors/redrive", answer)
    operator.page.route(re.compile("limit=500"), lambda route: route.fulfill(json={"items": names, "next": None}))
    operator.page.get_by_role("button", name="Redrive all…").click()
    dialog(operator).get_by_label("Messages per second").fill("2")
    expect(dialog(operator)).to_contain_text("about 20 s")
    dialog(operator).get_by_role("button", name="Redrive 40").click()
    expect(dialog(operator).get_by_role("status")).to_have_text("4 of 40 sent")
    dialog(operator).get_by_role("button", name="Stop").click()
    expect(said(operator)).to_have_text("Stopped. 8 messages redriven.")
    assert portions == [4, 4]


def test_the_users_in_trouble_are_counted_and_found(visit: Callable[..., User], trouble: Company) -> None:
    user = visit(trouble.url, "#/users").connected()
    which = user.page.get_by_role("group", name="Quick filters")
    expect(which.get_by_role("button", name=re.compile(r"In trouble \d+"))).to_be_visible()
    which.get_by_role("button", name="In trouble").click()
    expect(user.page).to_have_url(re.compile(r"state=trouble"))
    rows = user.page.locator(".users-table tbody tr")
    expect(rows.filter(has_text="Sales 0")).to_contain_text("Parked")
    expect(rows.filter(has_text="Completed")).to_have_count(0)
    which.get_by_role("button", name="Completed").click()
    expect(rows.filter(has_text="Parked")).to_have_count(0)
    expect(which.get_by_role("button", name="Completed")).to_have_attribute("aria-pressed", "true")


def test_on_a_phone_a_dead_letter_and_the_question_fit(visit: Callable[..., User], trouble: Company) -> None:
    user = visit(trouble.url, "#/errors", viewport=PHONE, has_touch=True).connected()
    user.more()
    choose(user, "Sales")
    found = group(user, "Notifier")
    first_letter(found)
    assert not user.scrolls_sideways()
    found.get_by_role("button", name="Roll back 2…").tap()
    confirm = dialog(user).get_by_role("button", name="Roll back 2")
    expect(confirm).to_be_in_viewport(ratio=1)
    assert not user.scrolls_sideways()
    dialog(user).get_by_role("button", name="Cancel").tap()
    user.page.goto(f"{trouble.url}/#/sagas/{trouble.parked['Sales'][0]}")
    expect(user.page.locator("#drawer").get_by_role("button", name="Redrive")).to_be_in_viewport(ratio=1)
    assert not user.scrolls_sideways()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_trouble_too_every_text_stands_out_from_its_ground(
    visit: Callable[..., User], trouble: Company, scheme: Any
) -> None:
    user = visit(trouble.url, "#/errors", color_scheme=scheme, reduced_motion="reduce").connected()
    found = group(user, "Notifier")
    first_letter(found)
    assert user.page.evaluate(FAINT) == []
    found.get_by_role("button", name="Roll back").first.click()
    expect(dialog(user).get_by_label("Your name")).to_be_visible()
    assert user.page.evaluate(FAINT) == []
    user.page.keyboard.press("Escape")
    user.page.goto(f"{trouble.url}/#/users?state=trouble")
    expect(user.page.locator(".users-table tbody tr").first).to_be_visible()
    assert user.page.evaluate(FAINT) == []
    user.page.goto(f"{trouble.url}/#/sagas/{trouble.parked['Sales'][0]}")
    expect(user.page.locator("#drawer .why")).to_contain_text("arked at notify")
    assert user.page.evaluate(FAINT) == []
