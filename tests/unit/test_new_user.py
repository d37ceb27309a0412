"""One definition of a user: the same input has the same answer as JSON, as CSV and as a record on `new-user`."""

import csv
import io
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import machine
from saga_app.saga.messages import BadMessage, Message, User, decode, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.web import new_users
from saga_app.web.new_users import NewUsers
from saga_app.web.problem import Problem
from tests.builders import at
from tests.names import random_names

Now = Callable[[str], None]
Answer = User | list[str]

ADA = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}


def by_http(read: Callable[[bytes], NewUsers], body: bytes) -> Answer:
    """The user, or what is wrong with each field."""
    try:
        return read(body).entries[0].user
    except Problem as problem:
        return [f"{error['field']}: {error['message']}" for error in problem.errors]


def by_json(fields: dict[str, Any]) -> Answer:
    return by_http(new_users.from_json, orjson.dumps(fields))


def by_csv(fields: dict[str, str]) -> Answer:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([fields.keys(), fields.values()])
    return by_http(new_users.from_csv, text.getvalue().encode())


def by_kafka(fields: dict[str, Any], topic: str = "new-user") -> Answer:
    """As the Provisioner reads it; on other topics, a message that came from a step."""
    value: dict[str, Any] = {"v": 1, "id": "ada", "user": fields, "slip": {"ahead": [], "back": []}}
    try:
        return machine.admit(ONBOARDING, topic, decode(Message, orjson.dumps(value)), at(0)).user
    except BadMessage as error:
        return [problem.removeprefix("user.") for problem in str(error).split("; user.")]


REFUSED = [
    *(
        {"name": name}
        for name in ("\u200b\u200b\u200b", "\u3164", "\u2800", "\u2060", "\u00ad", "\ufeff", "\u0301", "   ", "")
    ),
    *({"name": name} for name in ("A\nda", "A\u202eda", "A\0da", "x" * 201)),
    *(
        {"email": email}
        for email in ("try..this.@docomo.example", ".x@example.com", '"ab"@example.com', "a,b@example.com")
    ),
    *(
        {"email": email}
        for email in (
            "jo@example.com.",
            "Ada <ada@example.com>",
            "jo",
            "a@b@c.example",
            "\u200b",
            "",
            "a\0@example.com",
        )
    ),
    *(
        {"department": department}
        for department in ("Sa\u200bles", "Sa\u00adles", "Sa\u200dles", "\u200b", "", "Sa\tles", "x" * 101)
    ),
]


@pytest.mark.field(7, 8)
@pytest.mark.parametrize("wrong", REFUSED, ids=lambda wrong: ascii(wrong)[:40])
def test_what_is_refused_is_refused_alike_everywhere(wrong: dict[str, str], now: Now) -> None:
    answer = by_json(ADA | wrong)
    assert isinstance(answer, list)
    assert answer[0].split(":")[0] in wrong
    assert answer == by_csv(ADA | wrong) == by_kafka(ADA | wrong)
    if wrong in ({"name": "\u3164"}, {"email": '"ab"@example.com'}, {"department": "Sa\u200bles"}):
        now(f"422: {answer[0]}")


@pytest.mark.field(7)
@pytest.mark.parametrize("id", ["\u3164", "a\u200db", "\u1160\u115f", "ada\u3164"], ids=ascii)
def test_an_id_shows_all_of_its_characters(id: str) -> None:
    value = orjson.dumps({"v": 1, "id": id, "user": ADA})
    with pytest.raises(BadMessage, match=r"^id: has (no visible|an invisible) character"):
        machine.admit(ONBOARDING, "new-user", decode(Message, value), at(0))
    answer = by_json(ADA | {"id": id})
    assert isinstance(answer, list)
    assert answer[0].startswith(("id: has no visible", "id: has an invisible"))


CLEANED = [
    ({"name": "\u202eAda\u200b "}, {"name": "Ada"}),
    ({"name": "\ufeff\u2066Ada\u2069"}, {"name": "Ada"}),
    ({"name": "علی\u200cرضا\u200f"}, {"name": "علی\u200cرضا"}),
    ({"name": "Jose\u0301"}, {"name": "Jose\u0301"}),
    ({"email": "\u200b ada@example.com\u00a0"}, {"email": "ada@example.com"}),
    ({"email": "jo@BÜCHER.example"}, {"email": "jo@BÜCHER.example"}),
    ({"department": " Sales\u200b"}, {"department": "Sales"}),
    ({"department": "Ｓａｌｅｓ"}, {"department": "Sales"}),
    ({"department": "Human\u00a0 Resources"}, {"department": "Human Resources"}),
]


@pytest.mark.field(7)
@pytest.mark.parametrize(("given_", "stored"), CLEANED, ids=ascii)
def test_what_is_cleaned_is_cleaned_alike_everywhere(given_: dict[str, str], stored: dict[str, str]) -> None:
    wanted = User(**ADA | stored)
    assert by_json(ADA | given_) == by_csv(ADA | given_) == by_kafka(ADA | given_) == wanted


@given(st.text(st.characters(codec="utf-8"), max_size=12), st.sampled_from(["name", "email", "department"]))
def test_any_text_has_one_answer_and_a_clean_user_stays_as_it_is(text: str, field: str) -> None:
    answer = by_json(ADA | {field: text})
    assert answer == by_kafka(ADA | {field: text})
    if isinstance(answer, User):
        again = orjson.loads(encode(Message(v=1, id="ada", user=answer)))["user"]
        assert by_json(again) == by_kafka(again) == by_kafka(again, topic="authorize") == answer


def test_names_are_accepted_as_they_are_typed() -> None:
    for name in random_names(300, seed=7):
        assert by_json(ADA | {"name": name}) == by_kafka(ADA | {"name": name}) == User(**ADA | {"name": name})


@pytest.mark.field(7, 8)
@pytest.mark.parametrize(
    "old", [{"name": "\u3164"}, {"email": "ada@intranet"}, {"email": '"ab"@example.com'}, {"department": "Sa\u200bles"}]
)
def test_a_saga_that_was_accepted_before_goes_on(old: dict[str, str]) -> None:
    assert isinstance(by_kafka(ADA | old), list)
    assert by_kafka(ADA | old, topic="authorize") == User(**ADA | old)


@pytest.mark.field(13)
@pytest.mark.parametrize("field", ["name", "email", "department"])
def test_a_character_that_a_conversion_has_lost_is_refused_everywhere(field: str, now: Now) -> None:
    user = ADA | {field: f"J\ufffd{ADA[field]}"}
    (answer,) = by_json(user)
    assert answer.startswith(f"{field}: contains U+FFFD")
    assert [answer] == by_csv(user) == by_kafka(user)
    now(answer[:40])
