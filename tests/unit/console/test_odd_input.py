"""Unusual text, numbers and cursors in requests cause no error, in any database."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from saga_app.console.index.paging import Sort, _read
from saga_app.console.index.tables import sagas
from saga_app.saga.messages import User
from saga_app.web.problem import Problem
from tests.unit.console.api_harness import ApiHarness, running_api
from tests.unit.console.index_harness import IndexHarness
from tests.unit.console.operator_harness import write_garbage, write_parked_sagas
from tests.web_server import problem_of

pytestmark = pytest.mark.field(37)


@pytest.fixture
async def api(harness: IndexHarness) -> AsyncIterator[ApiHarness]:
    """The API with five completed sagas, a parked one and an unreadable dead letter, in each database."""
    api = ApiHarness(harness)
    for id in ("ada", "bob", "a_c", "abc"):
        api.add_saga(id)
    api.add_saga("percent", User("100%", "p@example.com", "Sales"))
    api.operator.write(lambda: write_parked_sagas(api.topics, "cleo"))
    api.operator.write(lambda: write_garbage(api.topics))
    async with running_api(api):
        yield api


#: Percent-encoded text with NUL, invalid UTF-8, quotes, and wildcards of SQL.
ODD_TEXTS = [
    "a%00b",
    "%00",
    "%ff%fe",
    "%ed%a0%80",
    "%zz",
    "%",
    "%e2%80%ae",
    "%F0%9F%98%80",
    "'%3B--",
    "%22",
    "*",
    "a%0Ab",
    "!%25_",
]


@pytest.mark.parametrize("text", ODD_TEXTS)
async def test_unusual_text_in_a_request_finds_nothing_or_is_refused(
    api: ApiHarness, text: str, now: Callable[[str], None]
) -> None:
    for parameter in ("q", "department"):
        await get_page_or_problem(api, f"/api/sagas?{parameter}={text}")
    for parameter in ("q", "id", "saga", "service", "step", "error", "topic", "department", "since", "until"):
        await get_page_or_problem(api, f"/api/errors?{parameter}={text}")
        await get_page_or_problem(api, f"/api/errors?group=true&{parameter}={text}")
    for path in (
        f"/api/sagas/{text}",
        f"/api/sagas/{text}/trace",
        f"/api/errors/{text}/0/0",
        f"/api/errors/a/{text}/0",
    ):
        await problem_of(await api.client.get(URL(path, encoded=True)), 404)
    response = await api.client.get(URL(f"/api/sagas?q={text}", encoded=True))
    if text == "a%00b":
        now(f"{response.status}: {(await response.json())['detail']}")


async def get_page_or_problem(api: ApiHarness, path: str) -> None:
    """Request a list: the response must be 200, or a 422 that names the parameter."""
    response = await api.client.get(URL(path, encoded=True))
    if response.status != 200:
        assert (await problem_of(response, 422))["errors"][0]["field"] in path


async def test_a_nul_character_is_refused_in_queries_and_bodies(api: ApiHarness) -> None:
    problem = await problem_of(await api.client.get(URL("/api/sagas?q=a%00b", encoded=True)), 422)
    assert problem["detail"] == "q has a NUL character"
    for body in ({"ids": ["a\0b"]}, {"filter": {"q": "a\0b"}}, {"filter": {"id": "\0"}}):
        for path in ("/api/errors/redrive", "/api/errors/rollback"):
            await problem_of(await api.client.post(path, json=body), 422)
    user = {"name": "A", "email": "a@b.c", "department": "x", "id": "a\0b"}
    await problem_of(await api.client.post("/api/users", json=user), 422)


@pytest.mark.parametrize(("q", "ids"), [("a_c", ["a_c"]), ("0%25", ["percent"]), ("b%25", []), ("a_", ["a_c"])])
async def test_wildcards_of_sql_are_searched_for_as_text(api: ApiHarness, q: str, ids: list[str]) -> None:
    page = await (await api.client.get(URL(f"/api/sagas?q={q}", encoded=True))).json()
    assert [item["id"] for item in page["items"]] == ids


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("q=" + "a" * 201, "q"),
        ("q=" + "a" * 9000, "q"),
        ("limit=-1", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=1e3", "limit"),
        ("limit=1&limit=2", "limit"),
        ("q=a&q=b", "q"),
        ("sort=name&sort=name", "sort"),
        ("overdue=2", "overdue"),
        ("&".join(f"x{number}=1" for number in range(3000)), "x0"),
    ],
)
async def test_an_invalid_parameter_is_named_in_a_short_problem(api: ApiHarness, query: str, field: str) -> None:
    body = await problem_of(await api.client.get(f"/api/sagas?{query}"), 422)
    assert body["errors"][0]["field"] == field
    assert len(str(body)) < 10_000


async def test_the_state_parameter_can_be_repeated(api: ApiHarness) -> None:
    page = await (await api.client.get("/api/sagas?state=completed&state=parked")).json()
    assert page["total"] == 6


#: Decoded cursors that no page contains.
CURSORS: list[Any] = [
    ["-started_at", "a\0b", "ada"],
    ["-started_at", "x", "a\0b"],
    ["duration", 2**64 - 1, "ada"],
    ["duration", True, "ada"],
    ["duration", 1e308, "ada"],
    ["duration", None, "ada"],
    ["-started_at", None, "ada"],
    ["-started_at", 7, "ada"],
    ["-started_at", {}, []],
    ["-at", "2026", 2**31, 0],
    ["-at", "2026", 0, 2**63],
    ["-at", "2026", 0, -(2**63) - 1],
    ["-at", "2026", 0.5, 0],
    ["-at", "2026", 1, 2],
    {},
    "text",
    7,
]


@pytest.mark.parametrize("content", CURSORS, ids=str)
async def test_a_forged_cursor_returns_a_page_or_a_422(api: ApiHarness, content: Any) -> None:
    encoded = orjson.dumps(content) if fits_in_64_bits(content) else str(content).encode()
    cursor = base64.urlsafe_b64encode(encoded).decode()
    for path in ("/api/sagas?sort=duration&", "/api/sagas?", "/api/errors?"):
        response = await api.client.get(f"{path}cursor={quote(cursor)}")
        if response.status != 200:
            assert (await problem_of(response, 422))["errors"][0]["field"] == "cursor"


def fits_in_64_bits(content: Any) -> bool:
    """Whether orjson can encode the integers of a cursor."""
    return not isinstance(content, list) or all(not isinstance(each, int) or each >= -(2**63) for each in content)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_as_a_cursor_is_decoded_or_refused(cursor: str) -> None:
    with suppress(Problem):
        _read(cursor, Sort("duration", sagas.c.duration, (sagas.c.id,), False, True))
