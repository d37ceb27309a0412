"""Bodies with new users: lists, CSV as programs write it, packed ones, and the problem that each bad one gets."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.web import new_users
from saga_app.web.new_users import MAX_LIST_BYTES, MAX_LIST_ENTRIES, MAX_USER_BYTES
from saga_app.web.problem import Problem
from tests.fakes.starter import ADA, StarterServer, opened
from tests.web_server import problem_of


@pytest.fixture
async def office() -> Any:
    async with opened() as made:
        yield made


async def test_a_list_in_json_is_accepted_in_its_order(office: StarterServer) -> None:
    crowd = [ADA | {"name": f"Ada {number}"} for number in range(100)]
    answer = await office.post(crowd)
    body = await answer.json()
    assert (answer.status, body["accepted"], len(set(body["ids"]))) == (202, 100, 100)
    assert body["ids"] == sorted(body["ids"]) == [(message.key or b"").decode() for message in office.producer.sent]
    assert [user["name"] for user in office.producer.users] == [entry["name"] for entry in crowd]


CSVS = {
    "plain": b"name,email,department\nAda,ada@example.com,Sales\n",
    "byte order mark and CRLF": b"\xef\xbb\xbfname,email,department\r\nAda,ada@example.com,Sales\r\n",
    "quoted": b'"name","email","department"\n"Ada","ada@example.com","Sales"\n',
    "another order, more columns, blank lines": b"\nid,department,phone,Email,NAME\n\n,Sales,1,ada@example.com,Ada\n\n",
    "semicolons": b"name;email;department\nAda;ada@example.com;Sales",
    "spaces": b"name, email, department\n Ada , ada@example.com , Sales ",
}


@pytest.mark.parametrize("text", CSVS.values(), ids=CSVS.keys())
async def test_csv_as_programs_write_it_is_understood(office: StarterServer, text: bytes) -> None:
    answer = await office.post(text, kind="text/csv; charset=utf-8")
    assert (await answer.json())["accepted"] == 1
    assert office.producer.users == [ADA]


async def test_a_quoted_comma_and_a_doubled_quote_belong_to_the_name(office: StarterServer) -> None:
    await office.post(b'name,email,department,id\n"Lovelace, ""Ada""",ada@example.com,Sales,a1\n', kind="text/csv")
    assert office.producer.users[0]["name"] == 'Lovelace, "Ada"'
    assert office.producer.sent[0].key == b"a1"


async def test_every_bad_entry_is_named_by_index_and_field_and_nothing_is_sent(office: StarterServer) -> None:
    bad = [
        ADA,
        {"name": "", "email": "no address", "department": "x" * 101},
        {"email": "a@b.example"},
        "Ada",
        ADA | {"id": "no spaces please"},
        ADA | {"name": "two\nlines"},
        ADA | {"name": 7},
    ]
    body = await problem_of(await office.post(bad), 422)
    named = {(error["index"], error["field"]) for error in body["errors"]}
    assert named == {
        (1, "name"),
        (1, "email"),
        (1, "department"),
        (2, "name"),
        (2, "department"),
        (3, None),
        (4, "id"),
        (5, "name"),
        (6, "name"),
    }
    assert "nothing was sent" in body["detail"]
    assert not office.producer.sent


async def test_ids_that_are_twice_in_a_list_or_exist_are_named(office: StarterServer) -> None:
    body = await problem_of(await office.post([ADA | {"id": "x"}, ADA | {"id": "y"}, ADA | {"id": "x"}]), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(2, "id")]
    body = await problem_of(await office.post([ADA, ADA | {"id": "taken"}]), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "id")]


async def test_a_csv_with_a_wrong_line_names_it(office: StarterServer) -> None:
    body = await problem_of(
        await office.post(
            b"name,email,department\nAda,a@b.example,Sales\nBob,b@c.example\nCem,nobody,Sales\n", kind="text/csv"
        ),
        422,
    )
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, None), (2, "email")]


@pytest.mark.parametrize(
    "text", [b"", b"\n\n", b"name,email\nAda,a@b\n", b"name,email,department,name\n", b"name,email,department\n"]
)
async def test_a_csv_without_users_or_with_a_wrong_header_is_refused(office: StarterServer, text: bytes) -> None:
    assert (await problem_of(await office.post(text, kind="text/csv"), 422))["errors"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"name,email,department\n\xff,\xfe,x\n", "text/csv", 422),
        (b"PK\x03\x04 a workbook", "text/csv", 422),
        (b"name,email,department\nAda,a@b,Sales\n", "text/csv; charset=base64", 415),
        (b"name,email,department\nAda,a@b,Sales\n", "text/csv; charset=no-such", 415),
        (b'name,email,department\n"Ada,a@b.example,Sales\n', "text/csv", 400),
        (b"7", "application/json", 422),
        (b"null", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"[[]]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"name=Ada", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json; charset=latin-1", 415),
        (b'{"name": "' + b"x" * MAX_USER_BYTES + b'"}', "application/json", 413),
        (b"[" + b" " * MAX_LIST_BYTES + b"]", "application/json", 413),
        (b"[" + b"{}," * MAX_LIST_ENTRIES + b"{}]", "application/json", 413),
    ],
)
async def test_every_bad_body_gets_its_problem(office: StarterServer, body: bytes, kind: str, status: int) -> None:
    await problem_of(await office.post(body, kind=kind), status)
    assert not office.producer.sent


async def test_a_body_that_unpacks_to_too_much_is_refused(office: StarterServer) -> None:
    packed = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    answer = await office.post(packed, **{"Content-Encoding": "gzip"})
    await problem_of(answer, 413)


@pytest.mark.parametrize("size", [1, 50_000])
async def test_a_body_that_is_not_packed_as_it_says_is_refused(
    office: StarterServer, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await office.post(json.dumps(ADA).encode() * size, **{"Content-Encoding": "gzip"})
    assert "gzip" in (await problem_of(answer, 400))["detail"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_packed_body_is_understood(office: StarterServer) -> None:
    packed = gzip.compress(json.dumps(ADA).encode())
    assert (await office.post(packed, **{"Content-Encoding": "gzip"})).status == 202


async def test_a_packing_that_is_not_known_is_named_with_those_that_are(office: StarterServer) -> None:
    answer = await office.post(ADA, **{"Content-Encoding": "snappy"})
    assert "snappy" in (await problem_of(answer, 415))["detail"]
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"


LOOKS_LIKE_ANOTHER = ["\u202a", "\u202e", "\u2066", "\u2069", "\u2028", "\u2029", "\x85", "\x7f", "\n"]


@pytest.mark.parametrize("letter", LOOKS_LIKE_ANOTHER, ids=ascii)
@pytest.mark.parametrize("field", ["name", "department"])
async def test_a_name_is_one_line_that_reads_as_it_is_written(office: StarterServer, field: str, letter: str) -> None:
    body = await problem_of(await office.post(ADA | {field: f"A{letter}da"}), 422)
    assert body["errors"][0]["field"] == field
    assert "control character" in body["errors"][0]["message"]


async def test_names_of_all_languages_are_names(office: StarterServer) -> None:
    for name in ("Zoë", "עדה", "阿达", "علی\u200cرضا", "👩\u200d💻"):
        assert (await office.post(ADA | {"name": name})).status == 202


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(office: StarterServer) -> None:
    async def endless() -> Any:
        for _ in range(30):
            yield b" " * 1_000_000

    answer = await office.client.post("/users", data=endless(), headers={"Content-Type": "application/json"})
    await problem_of(answer, 413)


@given(st.binary(max_size=300), st.sampled_from([new_users.from_json, new_users.from_csv]))
def test_no_body_whatever_is_a_bug(body: bytes, read: Callable[[bytes], object]) -> None:
    statuses = []
    try:
        read(body)
    except Problem as problem:
        statuses.append(problem.status)
    assert set(statuses) <= {400, 413, 422}
