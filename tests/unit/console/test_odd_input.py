"""No text, number or cursor in a request makes the index fail, whichever database it is in."""

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
from tests.unit.console.filled_index import FilledIndex
from tests.unit.console.operator_harness import garbage, parked
from tests.unit.console.test_api import Room
from tests.web_server import problem_of, serving

pytestmark = pytest.mark.field(37)


@pytest.fixture
async def room(reading: Callable[..., FilledIndex]) -> AsyncIterator[Any]:
    """With a few sagas and dead letters, in each database."""
    made = Room(reading())
    for id in ("ada", "bob", "a_c", "abc"):
        made.add(id)
    made.add("percent", User("100%", "p@example.com", "Sales"))
    made.desk.write(lambda: parked(made.logs, "cleo"))
    made.desk.write(lambda: garbage(made.logs))
    async with serving(made.add_routes) as client:
        made.client = client  # type: ignore[attr-defined]
        yield made
        made.hub.stop()


ODD = [
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


@pytest.mark.parametrize("text", ODD)
async def test_odd_text_finds_nothing_or_is_refused(room: Any, text: str, now: Callable[[str], None]) -> None:
    for parameter in ("q", "department"):
        await fine(room, f"/api/sagas?{parameter}={text}")
    for parameter in ("q", "id", "saga", "service", "step", "error", "topic", "department", "since", "until"):
        await fine(room, f"/api/errors?{parameter}={text}")
        await fine(room, f"/api/errors?group=true&{parameter}={text}")
    for path in (
        f"/api/sagas/{text}",
        f"/api/sagas/{text}/trace",
        f"/api/errors/{text}/0/0",
        f"/api/errors/a/{text}/0",
    ):
        await problem_of(await room.client.get(URL(path, encoded=True)), 404)
    answer = await room.client.get(URL(f"/api/sagas?q={text}", encoded=True))
    if text == "a%00b":
        now(f"{answer.status}: {(await answer.json())['detail']}")


async def fine(room: Any, path: str) -> None:
    """200 with a page, or a 422 that names the parameter."""
    answer = await room.client.get(URL(path, encoded=True))
    if answer.status != 200:
        assert (await problem_of(answer, 422))["errors"][0]["field"] in path


async def test_a_nul_is_named_in_a_query_and_in_an_order(room: Any) -> None:
    body = await problem_of(await room.client.get(URL("/api/sagas?q=a%00b", encoded=True)), 422)
    assert body["detail"] == "q has a NUL character"
    for order in ({"ids": ["a\0b"]}, {"filter": {"q": "a\0b"}}, {"filter": {"id": "\0"}}):
        for path in ("/api/errors/redrive", "/api/errors/rollback"):
            await problem_of(await room.client.post(path, json=order), 422)
    user = {"name": "A", "email": "a@b.c", "department": "x", "id": "a\0b"}
    await problem_of(await room.client.post("/api/users", json=user), 422)


@pytest.mark.parametrize(("q", "ids"), [("a_c", ["a_c"]), ("0%25", ["percent"]), ("b%25", []), ("a_", ["a_c"])])
async def test_what_is_special_to_like_is_just_text(room: Any, q: str, ids: list[str]) -> None:
    page = await (await room.client.get(URL(f"/api/sagas?q={q}", encoded=True))).json()
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
async def test_a_parameter_out_of_bounds_is_named_briefly(room: Any, query: str, field: str) -> None:
    body = await problem_of(await room.client.get(f"/api/sagas?{query}"), 422)
    assert body["errors"][0]["field"] == field
    assert len(str(body)) < 10_000


async def test_states_may_be_given_one_by_one(room: Any) -> None:
    page = await (await room.client.get("/api/sagas?state=completed&state=parked")).json()
    assert page["total"] == 6


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
async def test_a_made_up_cursor_is_a_page_or_a_422(room: Any, content: Any) -> None:
    cursor = base64.urlsafe_b64encode(orjson.dumps(content) if abs_fits(content) else str(content).encode()).decode()
    for path in ("/api/sagas?sort=duration&", "/api/sagas?", "/api/errors?"):
        answer = await room.client.get(f"{path}cursor={quote(cursor)}")
        if answer.status != 200:
            assert (await problem_of(answer, 422))["errors"][0]["field"] == "cursor"


def abs_fits(content: Any) -> bool:
    """Whether orjson can write it: integers of 64 bits."""
    return not isinstance(content, list) or all(not isinstance(each, int) or each >= -(2**63) for each in content)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_a_cursor_or_a_problem(cursor: str) -> None:
    with suppress(Problem):
        _read(cursor, Sort("duration", sagas.c.duration, (sagas.c.id,), False, True))
