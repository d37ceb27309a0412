"""An answer that got lost: the page says that the outcome is not known, and asks again until it is."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from devtools.system import System
from devtools.wait import until
from tests.browser.user import SAGA_MS, User


class Proxy:
    """Stands between page and server: the first answers get lost, in one way or another."""

    def __init__(self, lose: Callable[[Route], None], losses: int, reaches_server: bool = True) -> None:
        self.lose, self.losses, self.reaches_server = lose, losses, reaches_server
        self.keys: list[str] = []
        self.bodies: list[bytes] = []

    def __call__(self, route: Route) -> None:
        self.keys.append(route.request.headers["idempotency-key"])
        self.bodies.append(route.request.post_data_buffer or b"")
        if len(self.keys) > self.losses:
            return route.continue_()
        if self.reaches_server:
            route.fetch()
        return self.lose(route)


def status(code: int, body: str = "", kind: str = "text/html") -> Callable[[Route], None]:
    """Answer this instead of the server."""
    return lambda route: route.fulfill(status=code, body=body, content_type=kind)


UNKNOWN_503 = json.dumps({"title": "Service Unavailable", "status": 503, "detail": "the broker did not acknowledge it"})
LOSSES = {
    "connection cut": lambda route: route.abort("connectionreset"),
    "connection refused": lambda route: route.abort("connectionrefused"),
    "timeout": lambda route: route.abort("timedout"),
    "500": status(500),
    "502": status(502, "<h1>502 Bad Gateway</h1>"),
    "503": status(503, UNKNOWN_503, "application/problem+json"),
    "504": status(504),
    "408": status(408),
    "broken off": status(202, '{"id":', "application/json"),
}


def doubt(user: User) -> Locator:
    """What the page says while an outcome is not known."""
    return user.page.locator("#new-answer .unknown")


def total(user: User) -> int:
    """How many sagas there are."""
    count: int = user.ask("/api/sagas?limit=1")["total"]
    return count


@pytest.mark.field(18)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_answer_is_said_to_be_unknown_and_the_user_exists_once(
    user: User, loss: str, now: Callable[[str], None]
) -> None:
    before = total(user)
    proxy = Proxy(LOSSES[loss], losses=2)
    user.page.route("**/api/users", proxy)
    user.page.locator("#new-user").click()
    expect(doubt(user)).to_contain_text("It is not known whether")
    expect(user.page.locator("#new-answer")).not_to_contain_text("Nothing was sent")
    user.page.locator("#new-user").click()
    user.sees_arrival(user.accepted())
    expect(doubt(user)).to_be_hidden()
    assert len(set(proxy.keys)) == 1
    assert len(set(proxy.bodies)) == 1
    assert total(user) == before + 1
    now(f"{loss}: unknown, sent {len(proxy.keys)} times with {len(set(proxy.keys))} key, {total(user) - before} user")


@pytest.mark.field(18)
def test_an_unknown_outcome_is_cleared_up_without_another_press(user: User) -> None:
    before = total(user)
    proxy = Proxy(LOSSES["connection cut"], losses=2, reaches_server=False)
    user.page.route("**/api/users", proxy)
    user.button("Ten new users").click()
    expect(doubt(user)).to_contain_text("“10 users”")
    expect(user.page.locator("#new-answer .accepted")).to_contain_text("10 users")
    assert len(set(proxy.keys)) == 1
    until(lambda: total(user) == before + 10, 10, "ten users exist")


@pytest.mark.field(18)
def test_retry_asks_at_once_and_stop_trying_ends_it(user: User) -> None:
    proxy = Proxy(LOSSES["504"], losses=100)
    user.page.route("**/api/users", proxy)
    user.page.locator("#new-user").click()
    expect(doubt(user)).to_be_visible()
    user.button("Retry now").click()
    until(lambda: (user.page.wait_for_timeout(20), len(proxy.keys))[1] >= 2, 10, "it is sent again")
    user.button("Stop trying").click()
    expect(doubt(user)).to_be_hidden()
    user.page.locator("#new-user").click()
    expect(doubt(user)).to_be_visible()
    assert len(set(proxy.keys)) == 2


@pytest.mark.field(18)
@pytest.mark.parametrize("again", [403, 429, 502])
def test_a_refusal_unexamined_does_not_decide_an_earlier_attempt(user: User, again: int) -> None:
    answers = iter([LOSSES["connection cut"], status(again)])
    keys: list[str] = []

    def answer(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        next(answers, lambda route: route.continue_())(route)

    user.page.route("**/api/users", answer)
    user.page.locator("#new-user").click()
    expect(doubt(user)).to_be_visible()
    user.button("Retry now").click()
    user.sees_arrival(user.accepted())
    assert len(keys) >= 3
    assert len(set(keys)) == 1


@pytest.mark.field(18)
def test_the_form_and_a_reload_keep_the_key(user: User) -> None:
    proxy = Proxy(LOSSES["504"], losses=3)
    user.page.route("**/api/users", proxy)
    user.fill_form(name="Ada Twice", email="ada@example.com", department="Sales")
    expect(doubt(user)).to_contain_text("“Ada Twice” was accepted")
    user.page.reload()
    user.sees_arrival(user.accepted())
    assert len(set(proxy.keys)) == 1
    assert user.ask("/api/sagas?q=Ada%20Twice")["total"] == 1


@pytest.mark.field(18)
def test_a_csv_file_chosen_again_after_a_reload_keeps_the_key(user: User) -> None:
    text = "name,email,department\nCsv Once,one@example.com,Sales\n"
    proxy = Proxy(LOSSES["connection cut"], losses=1)
    user.page.route("**/api/users", proxy)
    user.choose_csv(text)
    expect(doubt(user)).to_contain_text("“people.csv” was accepted")
    proxy.losses = 0 if len(proxy.keys) > 1 else 1
    user.page.reload()
    expect(doubt(user)).to_contain_text("Choose “people.csv” again")
    proxy.losses = 0
    user.choose_csv(text)
    expect(user.page.locator("#new-answer .accepted")).to_contain_text("1 user")
    assert len(set(proxy.keys)) == 1
    until(lambda: user.ask("/api/sagas?q=Csv%20Once")["total"] == 1, 10, "one user exists")


@pytest.mark.field(18)
def test_an_answer_that_is_late_is_waited_for_and_said_to_be(user: User) -> None:
    held: list[Route] = []
    user.page.route("**/api/users", lambda route, _: held.append(route))
    user.page.locator("#new-user").click()
    expect(doubt(user)).to_contain_text("No response yet")
    user.page.locator("#new-user").click()
    assert len(held) == 1
    held[0].continue_()
    user.accepted()
    expect(doubt(user)).to_be_hidden()


@pytest.mark.field(18)
def test_what_the_server_refuses_for_certain_is_not_sent_again(
    visit: Callable[..., User], shared_system: System
) -> None:
    user = visit(shared_system.url, trace="on").connected()
    full = {"title": "Service Unavailable", "status": 503, "detail": "nothing was accepted: full", "outcome": "none"}
    keys: list[str] = []

    def refuse(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.fulfill(status=503, body=json.dumps(full), content_type="application/problem+json")

    user.page.route("**/api/users", refuse)
    user.page.locator("#new-user").click()
    expect(user.page.locator("#new-answer .refused")).to_contain_text("nothing was accepted: full")
    expect(doubt(user)).to_be_hidden()
    user.page.locator("#new-user").click()
    until(lambda: (user.page.wait_for_timeout(20), len(set(keys)))[1] == 2, 10, "the second press is another user")


@pytest.mark.field(18)
@pytest.mark.parametrize("intent", ["redrive", "rollback"])
def test_a_lost_answer_to_an_operator_is_unknown_and_can_be_asked_again(
    visit: Callable[..., User], start_system: Callable[..., System], intent: str
) -> None:
    user = visit(start_system(lag="0-0.1", error_rate=1).url).connected()
    id = user.press_new_user()
    until(lambda: user.ask(f"/api/sagas/{id}")["state"] == "parked", 30, "it is parked")
    losses: list[Any] = []

    def lose_first(route: Route) -> None:
        losses.append(route.request.post_data_json)
        if len(losses) > 1:
            return route.continue_()
        route.fetch()
        return route.abort("connectionreset")

    user.page.route(f"**/api/errors/{intent}", lose_first)
    user.page.goto(f"{user.page.url.split('#')[0]}#/sagas/{id}")
    drawer = user.page.locator("#drawer")
    if intent == "redrive":
        drawer.get_by_role("button", name="Redrive").click()
        where = drawer
    else:
        drawer.get_by_role("button", name="Roll back…").click()
        where = user.page.locator("dialog.ask")
        where.get_by_role("button", name="Roll back").click()
    expect(where.get_by_role("alert").last).to_contain_text("It is not known whether")
    expect(where.get_by_role("alert").last).not_to_contain_text("othing was sent")
    if intent == "rollback":
        until(lambda: user.ask(f"/api/sagas/{id}")["state"] != "parked", 30, "the lost request has had its effect")
    where.get_by_role("button", name="Retry").click()
    # A redriven saga may be parked once more by then: another redrive is another attempt, which repeats no effect.
    again = "Nothing more was sent|is requested again" if intent == "redrive" else "Nothing more was sent"
    expect(drawer.locator(".said")).to_contain_text(re.compile(again))
    assert losses[0] == losses[1]
    done = {"redrive": "Redriven by", "rollback": "Cancelled by"}[intent]
    expect(drawer.locator(".timeline").get_by_text(done).first).to_be_visible(timeout=SAGA_MS)
    if intent == "rollback":
        expect(drawer.locator(".timeline b", has_text=re.compile(f"^{done}"))).to_have_count(1)


@pytest.mark.field(19)
@pytest.mark.parametrize("view", ["users", "errors", "order"])
@pytest.mark.parametrize("failure", ["refused", "timeout", "502"])
def test_a_view_that_cannot_be_loaded_says_so_and_tries_again(user: User, view: str, failure: str) -> None:
    fail = {"refused": LOSSES["connection refused"], "timeout": LOSSES["timeout"], "502": LOSSES["502"]}[failure]
    user.page.route(re.compile(r"/api/(sagas|errors)\?"), fail)
    user.go(view.capitalize())
    broken = user.page.locator(f".{view} .broken:visible")
    expect(broken).to_be_visible()
    user.page.unroute(re.compile(r"/api/(sagas|errors)\?"))
    broken.get_by_role("button", name="Try again").click()
    expect(broken).to_be_hidden()
