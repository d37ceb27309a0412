"""The HTTP API for users, sagas, timelines and statistics."""

import asyncio
import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from saga_app.console.kafka.lookup import Lookup
from saga_app.console.kafka.trace import Trace
from tests.builders import NO
from tests.unit.console.api_harness import ApiHarness
from tests.web_server import problem_of


async def test_a_posted_user_is_in_the_list_and_has_a_timeline(api: ApiHarness) -> None:
    response = await api.client.post("/api/users", json={"name": "Ada", "email": "a@b.c", "department": "Sales"})
    assert response.status == 202
    url = (await response.json())["url"]
    shown = await api.get(url)
    assert (shown["user"]["name"], shown["state"]) == ("Ada", "completed")
    assert shown["why"] == "completed in 4.0 s"
    assert (await api.get("/api/sagas?q=Ada"))["total"] == 1
    entries = (await api.get(f"{url}/trace"))["entries"]
    steps = [(entry["step"], entry["kind"]) for entry in entries]
    assert steps == [
        ("provision", "requested"),
        ("provision", "done"),
        ("authorize", "requested"),
        ("authorize", "done"),
        ("notify", "requested"),
        ("notify", "done"),
        ("complete", "requested"),
        ("complete", "completed"),
    ]
    assert all(isinstance(entry["offset"], int) and entry["topic"] for entry in entries)


async def test_a_trace_includes_the_raw_records_on_request(api: ApiHarness) -> None:
    api.add_saga("ada")
    first = (await api.get("/api/sagas/ada/trace?raw=true"))["entries"][0]
    assert first["raw"]["key"] == "ada"
    assert json.loads(first["raw"]["value"])["user"]["name"] == "Ada Lovelace"


async def test_a_request_for_a_just_accepted_user_waits_for_the_index(api: ApiHarness) -> None:
    api.loses_messages = True
    response = await api.client.post(
        "/api/users", json={"id": "ada", "name": "Ada", "email": "a@b.example", "department": "x"}
    )
    assert response.status == 202
    request = asyncio.ensure_future(api.get("/api/sagas/ada"))
    await asyncio.sleep(0)
    api.add_saga("ada")
    assert (await request)["id"] == "ada"


async def test_all_users_of_a_csv_file_are_accepted(api: ApiHarness) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(
        [["name", "email", "department"], *([f"N{n}", f"n{n}@b.example", "Sales"] for n in range(30))]
    )
    response = await api.client.post("/api/users", data=text.getvalue(), headers={"Content-Type": "text/csv"})
    assert (await response.json())["accepted"] == 30
    assert (await api.get("/api/sagas?limit=10"))["total"] == 30


async def test_an_existing_id_is_a_conflict_with_the_url_of_its_saga(api: ApiHarness) -> None:
    api.add_saga("ada")
    response = await api.client.post(
        "/api/users", json={"id": "ada", "name": "x", "email": "a@b.example", "department": "y"}
    )
    assert (await problem_of(response, 409))["url"] == "/api/sagas/ada"


@pytest.mark.field(28)
@pytest.mark.parametrize(
    ("options", "state", "part"),
    [
        ({}, "completed", "completed in 4.0 s"),
        ({"outcomes": {"authorize": NO}}, "rolled-back", "rolled back: no policy for the department"),
        ({"steps": 1}, "running", "running: waits for the Authorizer"),
    ],
)
async def test_a_conflict_explains_the_state_of_the_saga_and_what_to_do(
    api: ApiHarness, options: dict[str, Any], state: str, part: str, now: Callable[[str], None]
) -> None:
    api.add_saga("ada", **options)
    user = {"id": "ada", "name": "x", "email": "a@b.example", "department": "y"}
    body = await problem_of(await api.client.post("/api/users", json=user), 409)
    assert body["state"] == state
    assert part in body["detail"]
    assert body["detail"].split("; ")[1]
    listed = await problem_of(await api.client.post("/api/users", json=[user]), 422)
    assert part in listed["errors"][0]["message"]
    now(f"409: {body['detail']}")


async def test_pages_are_consecutive_and_contain_the_cursor_of_the_stream(api: ApiHarness) -> None:
    for number in range(5):
        api.add_saga(f"s{number}", begin=number)
    first = await api.get("/api/sagas?limit=3&sort=started_at")
    second = await api.get(f"/api/sagas?limit=3&sort=started_at&cursor={first['next']}")
    assert [item["id"] for item in first["items"] + second["items"]] == [f"s{number}" for number in range(5)]
    assert second["next"] is None
    assert first["cursor_event"] == api.hub.cursor


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/sagas?limit=0", "limit"),
        ("/api/sagas?limit=501", "limit"),
        ("/api/sagas?limit=²", "limit"),
        ("/api/sagas?sort=colour", "sort"),
        ("/api/sagas?state=happy", "state"),
        ("/api/sagas?overdue=perhaps", "overdue"),
        ("/api/sagas?cursor=%00", "cursor"),
        ("/api/sagas?cursor=eyJ9", "cursor"),
        ("/api/sagas?departement=Sales", "departement"),
        ("/api/errors?limit=x", "limit"),
        ("/api/errors?cursor=!", "cursor"),
        ("/api/errors?servise=notifier", "servise"),
        ("/api/stream?trace=2", "trace"),
    ],
)
async def test_an_invalid_query_parameter_is_named(api: ApiHarness, path: str, field: str) -> None:
    body = await api.get(path, 422)
    assert [error["field"] for error in body["errors"]] == [field]


async def test_a_missing_saga_is_a_404_or_a_503_while_the_index_is_built(api: ApiHarness) -> None:
    for path in ("/api/sagas/nobody", "/api/sagas/nobody/trace", "/api/nothing", "/nothing.js"):
        await api.get(path, 404)
    api.not_ready_reason = "the index is being read"
    assert "is being read" in (await api.get("/api/sagas/nobody", 503))["detail"]


async def test_an_unsupported_method_is_answered_with_405(api: ApiHarness) -> None:
    for method, path in (("DELETE", "/api/sagas/x"), ("POST", "/api/sagas"), ("GET", "/api/users"), ("PUT", "/")):
        await problem_of(await api.client.request(method, path), 405)


async def test_the_statistics_count_sagas_by_state_and_step(api: ApiHarness) -> None:
    api.add_saga("ada")
    api.add_saga("bob", steps=1)
    stats = await api.get("/api/stats")
    assert (stats["counts"]["completed"], stats["in_flight"]) == (1, 1)
    assert stats["steps"]["authorize"]["waiting"] == 1
    assert stats["duration"]["p50"] == 4.0


async def test_too_many_concurrent_traces_are_refused_with_429(api: ApiHarness) -> None:
    trace = Trace(Lookup("127.0.0.1:1"), 3, False)
    trace.lookup.asking = 1000
    api.handlers.trace = trace
    api.add_saga("ada")
    await api.get("/api/sagas/ada/trace", 429)


async def test_a_trace_without_a_broker_is_a_503(api: ApiHarness) -> None:
    api.handlers.trace = Trace(Lookup("127.0.0.1:1"), 3, False)
    api.add_saga("ada")
    await api.get("/api/sagas/ada/trace", 503)
