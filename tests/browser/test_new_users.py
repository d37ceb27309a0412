"""The ways to onboard somebody from the page, and what it says when something is wrong."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from devtools.system import System
from tests.browser.user import User


def test_n_on_the_keyboard_is_new_user(user: User) -> None:
    user.page.keyboard.press("n")
    user.sees_arrival(user.accepted())


def test_n_in_a_text_field_is_just_a_letter(user: User) -> None:
    user.button("Form").click()
    user.page.keyboard.type("Nanna")
    expect(user.page.locator("#f-name")).to_have_value("Nanna")
    expect(user.page.locator("#new-answer .accepted")).to_have_count(0)


def test_the_form_onboards_whom_it_names(user: User) -> None:
    user.fill_form(name="Ada Lovelace", email="ada@example.com", department="Engineering")
    id = user.accepted()
    expect(user.sees_arrival(id)).to_contain_text("Ada Lovelace")
    expect(user.page.locator("#f-name")).to_be_focused()


def test_a_wrong_field_is_named_where_it_is_and_nothing_is_sent(user: User) -> None:
    before = user.ask("/api/sagas?limit=1")["total"]
    user.fill_form(name="Ada Lovelace", email="not an address", department="Engineering")
    expect(user.page.locator("#f-email-error")).to_be_visible()
    expect(user.page.locator("#f-email")).to_have_attribute("aria-invalid", "true")
    expect(user.page.locator("#f-email")).to_be_focused()
    expect(user.page.locator("#f-name-error")).to_be_hidden()
    assert user.ask("/api/sagas?limit=1")["total"] == before
    user.fill_form(email="ada@example.com")
    user.accepted()
    expect(user.page.locator("#f-email-error")).to_be_hidden()


@pytest.mark.field(7, 9)
def test_the_form_sends_what_is_typed_and_no_other_spelling(user: User) -> None:
    user.fill_form(name="\u200bJo Bücher\u2060", email="jo@bücher.example", department="Ｓａｌｅｓ")
    accepted = user.accepted()
    user.sees_arrival(accepted)
    wanted = {"name": "Jo Bücher", "email": "jo@bücher.example", "department": "Sales"}
    assert user.ask(f"/api/sagas/{accepted}")["user"] == wanted


@pytest.mark.field(7)
def test_a_name_that_shows_nothing_is_refused_at_its_field(user: User) -> None:
    user.fill_form(name="\u3164\u2800", email="ada@example.com", department="Sales")
    expect(user.page.locator("#f-name-error")).to_have_text("has no visible character")
    user.fill_form(name="Ada")
    user.accepted()


def test_a_csv_file_onboards_everybody_in_it(user: User) -> None:
    user.choose_csv("name,email,department\nCsv One,one@example.com,Sales\nCsv Two,two@example.com,People\n")
    expect(user.page.locator("#new-answer")).to_contain_text("2 users from people.csv")
    expect(user.page.locator(".arrival", has_text="Csv One")).to_be_visible(timeout=30_000)
    expect(user.page.locator(".arrival", has_text="Csv Two")).to_be_visible(timeout=30_000)


def test_a_csv_file_may_be_dropped_on_the_page(user: User) -> None:
    user.page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["name,email,department\\nDropped,d@example.com,Sales\\n"], "drop.csv"));
            const fire = type => dispatchEvent(new DragEvent(type, {dataTransfer: data, cancelable: true}));
            fire("dragenter");
            window.hint = !document.querySelector("#drop").hidden;
            fire("drop");
        }"""
    )
    assert user.page.evaluate("window.hint") is True
    expect(user.page.locator("#drop")).to_be_hidden()
    expect(user.page.locator("#new-answer")).to_contain_text("1 user from drop.csv")


def test_a_csv_file_with_bad_entries_names_every_one_and_sends_nothing(user: User) -> None:
    before = user.ask("/api/sagas?limit=1")["total"]
    user.choose_csv("name,email,department\nGood,good@example.com,Sales\n,bad,Sales\nAlso,worse,Sales\n")
    answer = user.page.locator("#new-answer .refused")
    expect(answer).to_contain_text("line 3, name")
    expect(answer).to_contain_text("line 3, email")
    expect(answer).to_contain_text("line 4, email")
    assert user.ask("/api/sagas?limit=1")["total"] == before
    answer.get_by_role("button", name="Dismiss").click()
    expect(answer).to_have_count(0)


@pytest.mark.field(13)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "windows-1252", "utf-16", "utf-16-le"])
def test_the_bytes_of_a_csv_file_are_sent_as_they_are(user: User, encoding: str, now: Callable[[str], None]) -> None:
    content = "name;email;department\r\nJürgen;jo@example.com;Sales\r\n".encode(encoding)
    sent: list[Any] = []

    def answer(route: Route) -> None:
        sent.append((route.request.headers["content-type"], route.request.post_data_buffer))
        route.fulfill(status=202, json={"accepted": 1, "ids": ["x"]})

    user.page.route("**/api/users", answer)
    user.page.set_input_files("#csv-file", {"name": "a.csv", "mimeType": "text/csv", "buffer": content})
    expect(user.page.locator("#new-answer")).to_contain_text("1 user from a.csv")
    assert sent == [("text/csv", content)]
    now(f"{encoding}: the page sends the {len(content)} bytes of the file as {sent[0][0]}")


@pytest.mark.field(15)
def test_a_mistake_in_a_csv_file_is_shown_by_its_line(user: User, now: Callable[[str], None]) -> None:
    wrong = {"index": 2, "line": 9, "field": "email", "message": "is not an e-mail address"}
    body = {"title": "Unprocessable Content", "status": 422, "detail": "1 of 3 users are invalid", "errors": [wrong]}
    user.page.route("**/api/users", lambda route: route.fulfill(status=422, json=body))
    user.choose_csv("as the server has read it")
    answer = user.page.locator("#new-answer .refused li")
    expect(answer).to_have_text("line 9, email: is not an e-mail address")
    now(answer.inner_text())


@pytest.mark.field(13, 14)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_csv_file_is_read_in_its_own_encoding(user: User, encoding: str, now: Callable[[str], None]) -> None:
    text = f"name;email;department\nJürgen {encoding};juergen@example.com;Sales\n"
    user.choose_csv(text.encode(encoding), "jürgen.csv")
    answer = user.page.locator("#new-answer")
    expect(answer).to_contain_text("1 user from jürgen.csv, read as")
    expect(user.page.locator(".arrival", has_text=f"Jürgen {encoding}")).to_be_visible(timeout=30_000)
    now(answer.inner_text())


@pytest.mark.field(13, 15)
def test_a_csv_file_whose_encoding_is_not_certain_is_refused_by_line(user: User, now: Callable[[str], None]) -> None:
    user.choose_csv("name;email;department\n\nDvořák;d@example.com;Sales\n".encode("cp1250"))
    answer = user.page.locator("#new-answer .refused")
    expect(answer).to_contain_text("line 3")
    expect(answer).to_contain_text("UTF-8")
    now(answer.inner_text()[:60])


def test_a_refusal_by_the_server_is_shown_where_the_button_is(
    visit: Callable[..., User], shared_system: System
) -> None:
    user = visit(shared_system.url, trace="on").connected()
    problem = '{"title": "The broker is away", "status": 503, "detail": "Nothing was accepted."}'
    user.page.route(
        "**/api/users",
        lambda route: route.fulfill(status=503, content_type="application/problem+json", body=problem),
    )
    user.page.locator("#new-user").click()
    expect(user.page.locator("#new-answer .refused")).to_contain_text("The broker is away")
    expect(user.page.locator("#new-answer .refused")).to_contain_text("Nothing was accepted.")
