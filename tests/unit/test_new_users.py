"""Request bodies with new users: JSON lists, CSV dialects, compression, and the problem for each invalid body."""

import gzip
import json
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.web import new_users
from saga_app.web.new_users import MAX_LIST_BYTES, MAX_LIST_ENTRIES, MAX_USER_BYTES
from saga_app.web.problem import Problem
from tests.fakes.starter import ADA, StarterServer, running_starter
from tests.web_server import problem_of


@pytest.fixture
async def server() -> AsyncIterator[StarterServer]:
    async with running_starter() as server:
        yield server


async def test_a_json_list_is_accepted_in_its_order(server: StarterServer) -> None:
    users = [ADA | {"name": f"Ada {number}"} for number in range(100)]
    answer = await server.post(users)
    body = await answer.json()
    assert (answer.status, body["accepted"], len(set(body["ids"]))) == (202, 100, 100)
    assert body["ids"] == sorted(body["ids"]) == [(message.key or b"").decode() for message in server.producer.sent]
    assert [user["name"] for user in server.producer.users] == [entry["name"] for entry in users]


CSVS = {
    "plain": b"name,email,department\nAda,ada@example.com,Sales\n",
    "byte order mark and CRLF": b"\xef\xbb\xbfname,email,department\r\nAda,ada@example.com,Sales\r\n",
    "quoted": b'"name","email","department"\n"Ada","ada@example.com","Sales"\n',
    "another order, more columns, blank lines": b"\nid,department,phone,Email,NAME\n\n,Sales,1,ada@example.com,Ada\n\n",
    "semicolons": b"name;email;department\nAda;ada@example.com;Sales",
    "spaces": b"name, email, department\n Ada , ada@example.com , Sales ",
}


@pytest.mark.parametrize("text", CSVS.values(), ids=CSVS.keys())
async def test_common_csv_dialects_are_read(server: StarterServer, text: bytes) -> None:
    answer = await server.post(text, kind="text/csv; charset=utf-8")
    assert (await answer.json())["accepted"] == 1
    assert server.producer.users == [ADA]


async def test_quoted_commas_and_doubled_quotes_are_part_of_the_value(server: StarterServer) -> None:
    await server.post(b'name,email,department,id\n"Lovelace, ""Ada""",ada@example.com,Sales,a1\n', kind="text/csv")
    assert server.producer.users[0]["name"] == 'Lovelace, "Ada"'
    assert server.producer.sent[0].key == b"a1"


async def test_every_invalid_field_is_named_and_nothing_is_sent(server: StarterServer) -> None:
    entries = [
        ADA,
        {"name": "", "email": "no address", "department": "x" * 101},
        {"email": "a@b.example"},
        "Ada",
        ADA | {"id": "no spaces please"},
        ADA | {"name": "two\nlines"},
        ADA | {"name": 7},
    ]
    body = await problem_of(await server.post(entries), 422)
    found = {(error["index"], error["field"]) for error in body["errors"]}
    assert found == {
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
    assert not server.producer.sent


async def test_repeated_and_existing_ids_are_named(server: StarterServer) -> None:
    body = await problem_of(await server.post([ADA | {"id": "x"}, ADA | {"id": "y"}, ADA | {"id": "x"}]), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(2, "id")]
    body = await problem_of(await server.post([ADA, ADA | {"id": "taken"}]), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "id")]


async def test_an_invalid_csv_line_is_named(server: StarterServer) -> None:
    body = await problem_of(
        await server.post(
            b"name,email,department\nAda,a@b.example,Sales\nBob,b@c.example\nCem,nobody,Sales\n", kind="text/csv"
        ),
        422,
    )
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, None), (2, "email")]


@pytest.mark.parametrize(
    "text", [b"", b"\n\n", b"name,email\nAda,a@b\n", b"name,email,department,name\n", b"name,email,department\n"]
)
async def test_a_csv_without_users_or_with_an_invalid_header_is_refused(server: StarterServer, text: bytes) -> None:
    assert (await problem_of(await server.post(text, kind="text/csv"), 422))["errors"]


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
async def test_each_invalid_body_has_its_status(server: StarterServer, body: bytes, kind: str, status: int) -> None:
    await problem_of(await server.post(body, kind=kind), status)
    assert not server.producer.sent


async def test_a_body_that_decompresses_beyond_the_limit_is_refused(server: StarterServer) -> None:
    compressed = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    answer = await server.post(compressed, **{"Content-Encoding": "gzip"})
    await problem_of(answer, 413)


@pytest.mark.parametrize("size", [1, 50_000])
async def test_a_body_not_in_its_content_encoding_is_refused_without_an_error(
    server: StarterServer, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await server.post(json.dumps(ADA).encode() * size, **{"Content-Encoding": "gzip"})
    assert "gzip" in (await problem_of(answer, 400))["detail"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_gzip_body_is_accepted(server: StarterServer) -> None:
    compressed = gzip.compress(json.dumps(ADA).encode())
    assert (await server.post(compressed, **{"Content-Encoding": "gzip"})).status == 202


async def test_an_unknown_content_encoding_is_refused_with_the_known_ones(server: StarterServer) -> None:
    answer = await server.post(ADA, **{"Content-Encoding": "snappy"})
    assert "snappy" in (await problem_of(answer, 415))["detail"]
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"


#: Characters that change the direction or the line of a text.
CONTROLS = ["\u202a", "\u202e", "\u2066", "\u2069", "\u2028", "\u2029", "\x85", "\x7f", "\n"]


@pytest.mark.parametrize("character", CONTROLS, ids=ascii)
@pytest.mark.parametrize("field", ["name", "department"])
async def test_control_characters_in_a_field_are_refused(server: StarterServer, field: str, character: str) -> None:
    body = await problem_of(await server.post(ADA | {field: f"A{character}da"}), 422)
    assert body["errors"][0]["field"] == field
    assert "control character" in body["errors"][0]["message"]


async def test_names_in_all_scripts_are_accepted(server: StarterServer) -> None:
    for name in ("Zoë", "עדה", "阿达", "علی\u200cرضا", "👩\u200d💻"):
        assert (await server.post(ADA | {"name": name})).status == 202


async def test_a_body_of_unknown_length_is_limited(server: StarterServer) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 1_000_000

    answer = await server.client.post("/users", data=endless(), headers={"Content-Type": "application/json"})
    await problem_of(answer, 413)


@given(st.binary(max_size=300), st.sampled_from([new_users.from_json, new_users.from_csv]))
def test_any_body_is_accepted_or_a_client_error(body: bytes, read: Callable[[bytes], object]) -> None:
    statuses = []
    try:
        read(body)
    except Problem as problem:
        statuses.append(problem.status)
    assert set(statuses) <= {400, 413, 422}
