"""One definition of a user: JSON, CSV and records on `new-user` accept and refuse the same input."""

import csv
import io
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import admission
from saga_app.saga.codec import BadMessage, decode, encode
from saga_app.saga.messages import Message, User
from saga_app.saga.onboarding import ONBOARDING
from saga_app.web import new_users
from saga_app.web.new_users import NewUsers
from saga_app.web.problem import Problem
from tests.builders import at
from tests.names import random_names

Now = Callable[[str], None]

#: The accepted user, or the reasons for refusing it, each beginning with the name of the field.
Answer = User | list[str]

ADA = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}


def by_http(read: Callable[[bytes], NewUsers], body: bytes) -> Answer:
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
    """The Provisioner's answer to a record. On other topics than new-user it is a request from an earlier step."""
    value: dict[str, Any] = {"v": 1, "id": "ada", "user": fields, "slip": {"ahead": [], "back": []}}
    try:
        return admission.admit(ONBOARDING, topic, decode(Message, orjson.dumps(value)), at(0)).user
    except BadMessage as error:
        return [problem.removeprefix("user.") for problem in str(error).split("; user.")]


#: Fields that are refused. The other fields of the user are valid.
REFUSED_FIELDS = [
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
@pytest.mark.parametrize("fields", REFUSED_FIELDS, ids=lambda fields: ascii(fields)[:40])
def test_json_csv_and_kafka_refuse_with_the_same_reason(fields: dict[str, str], now: Now) -> None:
    answer = by_json(ADA | fields)
    assert isinstance(answer, list)
    assert answer[0].split(":")[0] in fields
    assert answer == by_csv(ADA | fields) == by_kafka(ADA | fields)
    if fields in ({"name": "\u3164"}, {"email": '"ab"@example.com'}, {"department": "Sa\u200bles"}):
        now(f"422: {answer[0]}")


@pytest.mark.field(7)
@pytest.mark.parametrize("id", ["\u3164", "a\u200db", "\u1160\u115f", "ada\u3164"], ids=ascii)
def test_an_id_with_invisible_characters_is_refused(id: str) -> None:
    value = orjson.dumps({"v": 1, "id": id, "user": ADA})
    with pytest.raises(BadMessage, match=r"^id: has (no visible|an invisible) character"):
        admission.admit(ONBOARDING, "new-user", decode(Message, value), at(0))
    answer = by_json(ADA | {"id": id})
    assert isinstance(answer, list)
    assert answer[0].startswith(("id: has no visible", "id: has an invisible"))


#: Fields as they are typed, and as they are stored.
CLEANED_FIELDS = [
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
@pytest.mark.parametrize(("typed", "stored"), CLEANED_FIELDS, ids=ascii)
def test_json_csv_and_kafka_clean_a_field_to_the_same_value(typed: dict[str, str], stored: dict[str, str]) -> None:
    user = User(**ADA | stored)
    assert by_json(ADA | typed) == by_csv(ADA | typed) == by_kafka(ADA | typed) == user


@given(st.text(st.characters(codec="utf-8"), max_size=12), st.sampled_from(["name", "email", "department"]))
def test_any_text_has_one_answer_and_cleaning_is_idempotent(text: str, field: str) -> None:
    answer = by_json(ADA | {field: text})
    assert answer == by_kafka(ADA | {field: text})
    if isinstance(answer, User):
        again = orjson.loads(encode(Message(v=1, id="ada", user=answer)))["user"]
        assert by_json(again) == by_kafka(again) == by_kafka(again, topic="authorize") == answer


def test_names_are_accepted_unchanged() -> None:
    for name in random_names(300, seed=7):
        assert by_json(ADA | {"name": name}) == by_kafka(ADA | {"name": name}) == User(**ADA | {"name": name})


@pytest.mark.field(7, 8)
@pytest.mark.parametrize(
    "old", [{"name": "\u3164"}, {"email": "ada@intranet"}, {"email": '"ab"@example.com'}, {"department": "Sa\u200bles"}]
)
def test_a_saga_accepted_by_an_older_release_continues(old: dict[str, str]) -> None:
    assert isinstance(by_kafka(ADA | old), list)
    assert by_kafka(ADA | old, topic="authorize") == User(**ADA | old)


@pytest.mark.field(13)
@pytest.mark.parametrize("field", ["name", "email", "department"])
def test_a_replacement_character_is_refused_everywhere(field: str, now: Now) -> None:
    user = ADA | {field: f"J\ufffd{ADA[field]}"}
    answer = by_json(user)
    assert isinstance(answer, list)
    [reason] = answer
    assert reason.startswith(f"{field}: contains U+FFFD")
    assert [reason] == by_csv(user) == by_kafka(user)
    now(reason[:40])
