"""Lost responses: the page reports an unknown outcome, and repeats the request until the outcome is known."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from devtools.system import System
from devtools.wait import until
from tests.browser.user import SAGA_TIMEOUT_MS, User


class LossyProxy:
    """A route handler that loses the first responses, and records the idempotency keys and bodies of all requests.

    lose: what the page gets in place of a response
    lost_responses: how many responses are lost
    reaches_server: whether the server gets the requests whose responses are lost
    """

    def __init__(self, lose: Callable[[Route], None], lost_responses: int, reaches_server: bool = True) -> None:
        self.lose, self.lost_responses, self.reaches_server = lose, lost_responses, reaches_server
        self.keys: list[str] = []
        self.bodies: list[bytes] = []

    def __call__(self, route: Route) -> None:
        self.keys.append(route.request.headers["idempotency-key"])
        self.bodies.append(route.request.post_data_buffer or b"")
        if len(self.keys) > self.lost_responses:
            return route.continue_()
        if self.reaches_server:
            route.fetch()
        return self.lose(route)


def answer_with(status: int, body: str = "", content_type: str = "text/html") -> Callable[[Route], None]:
    """A route handler that answers with this response."""
    return lambda route: route.fulfill(status=status, body=body, content_type=content_type)


UNKNOWN_503 = json.dumps({"title": "Service Unavailable", "status": 503, "detail": "the broker did not acknowledge it"})

#: By kind of failure: a route handler that answers without revealing the outcome.
LOSE_RESPONSE: dict[str, Callable[[Route], None]] = {
    "connection cut": lambda route: route.abort("connectionreset"),
    "connection refused": lambda route: route.abort("connectionrefused"),
    "timeout": lambda route: route.abort("timedout"),
    "500": answer_with(500),
    "502": answer_with(502, "<h1>502 Bad Gateway</h1>"),
    "503": answer_with(503, UNKNOWN_503, "application/problem+json"),
    "504": answer_with(504),
    "408": answer_with(408),
    "broken off": answer_with(202, '{"id":', "application/json"),
}


def unknown_outcome(user: User) -> Locator:
    """The message that the page shows while the outcome of a request is unknown."""
    return user.page.locator("#new-answer .unknown")


def saga_count(user: User) -> int:
    """The number of sagas that the console lists."""
    count: int = user.fetch("/api/sagas?limit=1")["total"]
    return count


@pytest.mark.field(18)
@pytest.mark.parametrize("loss", LOSE_RESPONSE)
def test_after_a_lost_response_the_user_is_onboarded_exactly_once(
    user: User, loss: str, now: Callable[[str], None]
) -> None:
    before = saga_count(user)
    proxy = LossyProxy(LOSE_RESPONSE[loss], lost_responses=2)
    user.page.route("**/api/users", proxy)
    user.page.locator("#new-user").click()
    expect(unknown_outcome(user)).to_contain_text("It is not known whether")
    expect(user.page.locator("#new-answer")).not_to_contain_text("Nothing was sent")
    user.page.locator("#new-user").click()
    user.wait_for_arrival(user.accepted_id())
    expect(unknown_outcome(user)).to_be_hidden()
    assert len(set(proxy.keys)) == 1
    assert len(set(proxy.bodies)) == 1
    assert saga_count(user) == before + 1
    now(f"{loss}: unknown, sent {len(proxy.keys)} times with {len(set(proxy.keys))} key, 1 user")


@pytest.mark.field(18)
def test_an_unknown_outcome_is_resolved_automatically(user: User) -> None:
    before = saga_count(user)
    proxy = LossyProxy(LOSE_RESPONSE["connection cut"], lost_responses=2, reaches_server=False)
    user.page.route("**/api/users", proxy)
    user.button("Ten new users").click()
    expect(unknown_outcome(user)).to_contain_text("“10 users”")
    expect(user.page.locator("#new-answer .accepted")).to_contain_text("10 users")
    assert len(set(proxy.keys)) == 1
    until(lambda: saga_count(user) == before + 10, 10, "the console did not list ten more sagas")


@pytest.mark.field(18)
def test_retry_now_repeats_the_request_and_stop_trying_ends_the_retries(user: User) -> None:
    proxy = LossyProxy(LOSE_RESPONSE["504"], lost_responses=100)
    user.page.route("**/api/users", proxy)
    user.page.locator("#new-user").click()
    expect(unknown_outcome(user)).to_be_visible()
    user.button("Retry now").click()
    user.wait_until(lambda: len(proxy.keys) >= 2, 10, "the request was not repeated")
    user.button("Stop trying").click()
    expect(unknown_outcome(user)).to_be_hidden()
    user.page.locator("#new-user").click()
    expect(unknown_outcome(user)).to_be_visible()
    assert len(set(proxy.keys)) == 2


@pytest.mark.field(18)
@pytest.mark.parametrize("status", [403, 429, 502])
def test_a_refused_retry_does_not_settle_the_first_attempt(user: User, status: int) -> None:
    answers = iter([LOSE_RESPONSE["connection cut"], answer_with(status)])
    keys: list[str] = []

    def answer(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        next(answers, lambda route: route.continue_())(route)

    user.page.route("**/api/users", answer)
    user.page.locator("#new-user").click()
    expect(unknown_outcome(user)).to_be_visible()
    user.button("Retry now").click()
    user.wait_for_arrival(user.accepted_id())
    assert len(keys) >= 3
    assert len(set(keys)) == 1


@pytest.mark.field(18)
def test_the_form_keeps_its_idempotency_key_across_a_reload(user: User) -> None:
    proxy = LossyProxy(LOSE_RESPONSE["504"], lost_responses=3)
    user.page.route("**/api/users", proxy)
    user.submit_form(name="Ada Twice", email="ada@example.com", department="Sales")
    expect(unknown_outcome(user)).to_contain_text("“Ada Twice” was accepted")
    user.page.reload()
    user.wait_for_arrival(user.accepted_id())
    assert len(set(proxy.keys)) == 1
    assert user.fetch("/api/sagas?q=Ada%20Twice")["total"] == 1


@pytest.mark.field(18)
def test_a_csv_file_chosen_again_after_a_reload_keeps_its_key(user: User) -> None:
    text = "name,email,department\nCsv Once,one@example.com,Sales\n"
    proxy = LossyProxy(LOSE_RESPONSE["connection cut"], lost_responses=1)
    user.page.route("**/api/users", proxy)
    user.choose_csv(text)
    expect(unknown_outcome(user)).to_contain_text("“people.csv” was accepted")
    proxy.lost_responses = 0 if len(proxy.keys) > 1 else 1
    user.page.reload()
    expect(unknown_outcome(user)).to_contain_text("Choose “people.csv” again")
    proxy.lost_responses = 0
    user.choose_csv(text)
    expect(user.page.locator("#new-answer .accepted")).to_contain_text("1 user")
    assert len(set(proxy.keys)) == 1
    until(lambda: user.fetch("/api/sagas?q=Csv%20Once")["total"] == 1, 10, "the user was not onboarded exactly once")


@pytest.mark.field(18)
def test_while_a_response_is_late_the_page_says_so_and_sends_nothing(user: User) -> None:
    held_requests: list[Route] = []
    user.page.route("**/api/users", lambda route, _: held_requests.append(route))
    user.page.locator("#new-user").click()
    expect(unknown_outcome(user)).to_contain_text("No response yet")
    user.page.locator("#new-user").click()
    assert len(held_requests) == 1
    held_requests[0].continue_()
    user.accepted_id()
    expect(unknown_outcome(user)).to_be_hidden()


@pytest.mark.field(18)
def test_a_request_that_was_certainly_refused_is_not_repeated(
    visit: Callable[..., User], shared_system: System
) -> None:
    user = visit(shared_system.url, trace="on").wait_for_connection()
    full = {"title": "Service Unavailable", "status": 503, "detail": "nothing was accepted: full", "outcome": "none"}
    keys: list[str] = []

    def refuse(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.fulfill(status=503, body=json.dumps(full), content_type="application/problem+json")

    user.page.route("**/api/users", refuse)
    user.page.locator("#new-user").click()
    expect(user.page.locator("#new-answer .refused")).to_contain_text("nothing was accepted: full")
    expect(unknown_outcome(user)).to_be_hidden()
    user.page.locator("#new-user").click()
    user.wait_until(lambda: len(set(keys)) == 2, 10, "the second click did not send another idempotency key")


@pytest.mark.field(18)
@pytest.mark.parametrize("action", ["redrive", "rollback"])
def test_an_operator_action_with_a_lost_response_can_be_repeated_safely(
    visit: Callable[..., User], start_system: Callable[..., System], action: str
) -> None:
    user = visit(start_system(lag="0-0.1", error_rate=1).url).wait_for_connection()
    id = user.press_new_user()
    until(lambda: user.fetch(f"/api/sagas/{id}")["state"] == "parked", 30, "the saga was not parked")
    bodies: list[Any] = []

    def lose_first_response(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        if len(bodies) > 1:
            return route.continue_()
        route.fetch()
        return route.abort("connectionreset")

    user.page.route(f"**/api/errors/{action}", lose_first_response)
    user.page.goto(f"{user.page.url.split('#')[0]}#/sagas/{id}")
    drawer = user.page.locator("#drawer")
    if action == "redrive":
        drawer.get_by_role("button", name="Redrive").click()
        container = drawer
    else:
        drawer.get_by_role("button", name="Roll back…").click()
        container = user.page.locator("dialog.ask")
        container.get_by_role("button", name="Roll back").click()
    expect(container.get_by_role("alert").last).to_contain_text("It is not known whether")
    expect(container.get_by_role("alert").last).not_to_contain_text("othing was sent")
    if action == "rollback":
        until(
            lambda: user.fetch(f"/api/sagas/{id}")["state"] != "parked",
            30,
            "the request with the lost response had no effect",
        )
    container.get_by_role("button", name="Retry").click()
    # The redriven saga may be parked again by now. Another redrive is another attempt, and repeats no effect.
    result = "Nothing more was sent|is requested again" if action == "redrive" else "Nothing more was sent"
    expect(drawer.locator(".said")).to_contain_text(re.compile(result))
    assert bodies[0] == bodies[1]
    timeline_text = {"redrive": "Redriven by", "rollback": "Cancelled by"}[action]
    expect(drawer.locator(".timeline").get_by_text(timeline_text).first).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    if action == "rollback":
        expect(drawer.locator(".timeline b", has_text=re.compile(f"^{timeline_text}"))).to_have_count(1)


@pytest.mark.field(19)
@pytest.mark.parametrize("view", ["users", "errors", "order"])
@pytest.mark.parametrize("failure", ["connection refused", "timeout", "502"])
def test_a_view_that_cannot_be_loaded_shows_an_error_and_try_again(user: User, view: str, failure: str) -> None:
    user.page.route(re.compile(r"/api/(sagas|errors)\?"), LOSE_RESPONSE[failure])
    user.open_tab(view.capitalize())
    error = user.page.locator(f".{view} .broken:visible")
    expect(error).to_be_visible()
    user.page.unroute(re.compile(r"/api/(sagas|errors)\?"))
    error.get_by_role("button", name="Try again").click()
    expect(error).to_be_hidden()
