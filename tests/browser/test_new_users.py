"""Onboarding users from the page: button, shortcut, form and CSV files, and the messages about invalid input."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from tests.browser.user import SAGA_TIMEOUT_MS, User


def test_the_key_n_onboards_a_new_user(user: User) -> None:
    user.page.keyboard.press("n")
    user.wait_for_arrival(user.accepted_id())


def test_the_key_n_in_a_text_field_types_a_letter(user: User) -> None:
    user.button("Form").click()
    user.page.keyboard.type("Nanna")
    expect(user.page.locator("#f-name")).to_have_value("Nanna")
    expect(user.page.locator("#new-answer .accepted")).to_have_count(0)


def test_the_form_onboards_the_user_with_the_given_name(user: User) -> None:
    user.submit_form(name="Ada Lovelace", email="ada@example.com", department="Engineering")
    id = user.accepted_id()
    expect(user.wait_for_arrival(id)).to_contain_text("Ada Lovelace")
    expect(user.page.locator("#f-name")).to_be_focused()


def test_an_invalid_field_is_marked_and_nothing_is_sent(user: User) -> None:
    before = user.fetch("/api/sagas?limit=1")["total"]
    user.submit_form(name="Ada Lovelace", email="not an address", department="Engineering")
    expect(user.page.locator("#f-email-error")).to_be_visible()
    expect(user.page.locator("#f-email")).to_have_attribute("aria-invalid", "true")
    expect(user.page.locator("#f-email")).to_be_focused()
    expect(user.page.locator("#f-name-error")).to_be_hidden()
    assert user.fetch("/api/sagas?limit=1")["total"] == before
    user.submit_form(email="ada@example.com")
    user.accepted_id()
    expect(user.page.locator("#f-email-error")).to_be_hidden()


@pytest.mark.field(7, 9)
def test_the_console_stores_the_normalised_input_of_the_form(user: User) -> None:
    user.submit_form(name="\u200bJo Bücher\u2060", email="jo@bücher.example", department="Ｓａｌｅｓ")
    id = user.accepted_id()
    user.wait_for_arrival(id)
    expected = {"name": "Jo Bücher", "email": "jo@bücher.example", "department": "Sales"}
    assert user.fetch(f"/api/sagas/{id}")["user"] == expected


@pytest.mark.field(7)
def test_a_name_without_visible_characters_is_rejected_at_its_field(user: User) -> None:
    user.submit_form(name="\u3164\u2800", email="ada@example.com", department="Sales")
    expect(user.page.locator("#f-name-error")).to_have_text("has no visible character")
    user.submit_form(name="Ada")
    user.accepted_id()


def test_a_csv_file_onboards_all_its_users(user: User) -> None:
    user.choose_csv("name,email,department\nCsv One,one@example.com,Sales\nCsv Two,two@example.com,People\n")
    expect(user.page.locator("#new-answer")).to_contain_text("2 users from people.csv")
    expect(user.page.locator(".arrival", has_text="Csv One")).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    expect(user.page.locator(".arrival", has_text="Csv Two")).to_be_visible(timeout=SAGA_TIMEOUT_MS)


def test_a_csv_file_can_be_dropped_on_the_page(user: User) -> None:
    user.page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["name,email,department\\nDropped,d@example.com,Sales\\n"], "drop.csv"));
            const fire = type => dispatchEvent(new DragEvent(type, {dataTransfer: data, cancelable: true}));
            fire("dragenter");
            window.showsDropArea = !document.querySelector("#drop").hidden;
            fire("drop");
        }"""
    )
    assert user.page.evaluate("window.showsDropArea") is True
    expect(user.page.locator("#drop")).to_be_hidden()
    expect(user.page.locator("#new-answer")).to_contain_text("1 user from drop.csv")


def test_all_errors_of_a_csv_file_are_listed_and_nothing_is_sent(user: User) -> None:
    before = user.fetch("/api/sagas?limit=1")["total"]
    user.choose_csv("name,email,department\nGood,good@example.com,Sales\n,bad,Sales\nAlso,worse,Sales\n")
    answer = user.page.locator("#new-answer .refused")
    expect(answer).to_contain_text("line 3, name")
    expect(answer).to_contain_text("line 3, email")
    expect(answer).to_contain_text("line 4, email")
    assert user.fetch("/api/sagas?limit=1")["total"] == before
    answer.get_by_role("button", name="Dismiss").click()
    expect(answer).to_have_count(0)


@pytest.mark.field(13)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "windows-1252", "utf-16", "utf-16-le"])
def test_the_bytes_of_a_csv_file_are_sent_unchanged(user: User, encoding: str, now: Callable[[str], None]) -> None:
    content = "name;email;department\r\nJürgen;jo@example.com;Sales\r\n".encode(encoding)
    requests: list[Any] = []

    def answer(route: Route) -> None:
        requests.append((route.request.headers["content-type"], route.request.post_data_buffer))
        route.fulfill(status=202, json={"accepted": 1, "ids": ["x"]})

    user.page.route("**/api/users", answer)
    user.page.set_input_files("#csv-file", {"name": "a.csv", "mimeType": "text/csv", "buffer": content})
    expect(user.page.locator("#new-answer")).to_contain_text("1 user from a.csv")
    assert requests == [("text/csv", content)]
    now(f"{encoding}: the page sends the {len(content)} bytes of the file as {requests[0][0]}")


@pytest.mark.field(15)
def test_an_error_in_a_csv_file_is_shown_with_its_line(user: User, now: Callable[[str], None]) -> None:
    error = {"index": 2, "line": 9, "field": "email", "message": "is not an e-mail address"}
    body = {"title": "Unprocessable Content", "status": 422, "detail": "1 of 3 users are invalid", "errors": [error]}
    user.page.route("**/api/users", lambda route: route.fulfill(status=422, json=body))
    user.choose_csv("any content: the response is mocked")
    answer = user.page.locator("#new-answer .refused li")
    expect(answer).to_have_text("line 9, email: is not an e-mail address")
    now(answer.inner_text())


@pytest.mark.field(13, 14)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_the_encoding_of_a_csv_file_is_detected_and_shown(
    user: User, encoding: str, now: Callable[[str], None]
) -> None:
    text = f"name;email;department\nJürgen {encoding};juergen@example.com;Sales\n"
    user.choose_csv(text.encode(encoding), "jürgen.csv")
    answer = user.page.locator("#new-answer")
    expect(answer).to_contain_text("1 user from jürgen.csv, read as")
    expect(user.page.locator(".arrival", has_text=f"Jürgen {encoding}")).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    now(answer.inner_text())


@pytest.mark.field(13, 15)
def test_a_csv_file_with_an_ambiguous_encoding_is_rejected_by_line(user: User, now: Callable[[str], None]) -> None:
    user.choose_csv("name;email;department\n\nDvořák;d@example.com;Sales\n".encode("cp1250"))
    answer = user.page.locator("#new-answer .refused")
    expect(answer).to_contain_text("line 3")
    expect(answer).to_contain_text("UTF-8")
    now(answer.inner_text()[:60])


def test_a_refusal_by_the_server_is_shown_next_to_the_button(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="on").wait_for_connection()
    problem = '{"title": "The broker is unavailable", "status": 503, "detail": "Nothing was accepted."}'
    user.page.route(
        "**/api/users",
        lambda route: route.fulfill(status=503, content_type="application/problem+json", body=problem),
    )
    user.page.locator("#new-user").click()
    expect(user.page.locator("#new-answer .refused")).to_contain_text("The broker is unavailable")
    expect(user.page.locator("#new-answer .refused")).to_contain_text("Nothing was accepted.")
