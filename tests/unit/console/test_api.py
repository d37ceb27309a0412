"""The console's HTTP, on a real index."""

import asyncio
import base64
import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import jsonschema
import pytest
from aiohttp import web

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.console.http import api, contracts, page_files, schemas
from saga_app.console.http.hub import Hub
from saga_app.console.kafka.lookup import Lookup
from saga_app.console.kafka.trace import Found, Searched, Trace
from saga_app.saga.messages import Row, User, parse
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.timeline import Record, story
from saga_app.saga.times import iso
from saga_app.stream.produce.sender import Message as Outgoing
from saga_app.web.start_saga import Starter
from tests.builders import NO, at
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics
from tests.unit.console.filled_index import FilledIndex
from tests.unit.console.operator_harness import OperatorHarness, garbage, parked
from tests.web_server import problem_of, serving


class Room:
    """The API with its index; what is posted goes straight into the logs, and from there into the index."""

    def __init__(self, reading: FilledIndex) -> None:
        self.reading, self.logs = reading, FakeTopics()
        self.waits_for: str | None = None
        self.swallow = False
        self.desk = OperatorHarness(reading, self.logs)
        queries = self.desk.queries
        self.hub = Hub(queries.changed_after, lambda: at(60))
        self.hub.publish(reading.index.epoch, 0, [])
        self.starter = Starter(self, "console", known=queries.users)
        self.api = api.Api(
            starter=self.starter,
            queries=queries,
            hub=self.hub,
            trace=self,  # type: ignore[arg-type]
            operator=self.desk.operator,
            stats=self.stats,
            not_ready=lambda: self.waits_for,
            now=lambda: at(60),
        )

    def add_routes(self, app: web.Application) -> None:
        """As the console does."""
        api.add_routes(app, self.api.calls())
        contracts.add_routes(app, self.api.calls())
        page_files.add_routes(app, page_files.load())

    async def send_all(self, messages: Sequence[Outgoing]) -> None:
        """The sender: every saga runs through at once."""
        for message in messages:
            body = parse(message.topic, message.value, (), ROWS_CHANGELOG)
            if not self.swallow:
                self.add(message.key.decode() if message.key else "", body.user)  # type: ignore[union-attr]

    def add(self, id: str, user: User | None = None, **how: Any) -> None:
        """A saga in the logs and in the index."""
        mark = len(self.logs.written)
        self.logs.saga(id, *([user] if user else []), **how)
        changes = self.reading.read(self.logs.written[mark:])
        self.hub.publish(self.reading.index.epoch, self.reading.fold.seq, changes.events)

    async def of(self, row: Row) -> Found:
        """The trace: out of the logs."""
        raws = [raw for raw in self.logs.records if raw.key == row.id.encode()]
        records = [
            Record(
                r.topic,
                r.partition,
                r.offset,
                iso(r.timestamp / 1000),
                parse(r.topic, r.value, r.headers, ROWS_CHANGELOG),
            )
            for r in raws
        ]
        places = {(raw.topic, raw.partition, raw.offset): raw for raw in raws}
        return Found(story(ONBOARDING, records), places, Searched(10.0, len(raws)))

    def stats(self) -> dict[str, Any]:
        """The figures, with what the console adds to them."""
        return self.reading.fold.figures.snapshot(self.logs.start) | {
            "errors": self.reading.index.errors,
            "services": {"notifier": {"up": True, "workers": 1, "lag": 0, "reason": None}},
            "broker": {"embedded": True, "up": True, "fill": 0.1},
            "departments": ["Sales"],
            "lag": "0",
            "not_ready": None,
        }


@pytest.fixture
async def room(on_sqlite: FilledIndex) -> AsyncIterator[Any]:
    """Open, with a client in it."""
    made = Room(on_sqlite)
    async with serving(made.add_routes) as client:
        made.client = client  # type: ignore[attr-defined]
        yield made
        made.hub.stop()


async def get(room: Any, path: str, status: int = 200) -> Any:
    """An answer that is as expected."""
    answer = await room.client.get(path)
    if status >= 400:
        return await problem_of(answer, status)
    assert answer.status == status, await answer.text()
    return await answer.json()


async def test_a_posted_user_is_listed_shown_and_traced(room: Any) -> None:
    answer = await room.client.post("/api/users", json={"name": "Ada", "email": "a@b.c", "department": "Sales"})
    assert answer.status == 202
    url = (await answer.json())["url"]
    shown = await get(room, url)
    assert (shown["user"]["name"], shown["state"]) == ("Ada", "completed")
    assert shown["why"] == "completed in 4.0 s"
    assert (await get(room, "/api/sagas?q=Ada"))["total"] == 1
    entries = (await get(room, f"{url}/trace"))["entries"]
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


async def test_the_raw_record_is_shown_on_demand(room: Any) -> None:
    room.add("ada")
    first = (await get(room, "/api/sagas/ada/trace?raw=true"))["entries"][0]
    assert first["raw"]["key"] == "ada"
    assert json.loads(first["raw"]["value"])["user"]["name"] == "Ada Lovelace"


async def test_a_user_who_was_just_accepted_is_waited_for(room: Any) -> None:
    room.swallow = True
    answer = await room.client.post(
        "/api/users", json={"id": "ada", "name": "Ada", "email": "a@b.example", "department": "x"}
    )
    assert answer.status == 202
    asking = asyncio.ensure_future(get(room, "/api/sagas/ada"))
    await asyncio.sleep(0)
    room.add("ada")
    assert (await asking)["id"] == "ada"


async def test_a_csv_and_a_list_are_accepted(room: Any) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(
        [["name", "email", "department"], *([f"N{n}", f"n{n}@b.example", "Sales"] for n in range(30))]
    )
    answer = await room.client.post("/api/users", data=text.getvalue(), headers={"Content-Type": "text/csv"})
    assert (await answer.json())["accepted"] == 30
    assert (await get(room, "/api/sagas?limit=10"))["total"] == 30


async def test_an_existing_id_is_a_conflict_that_says_where_it_is(room: Any) -> None:
    room.add("ada")
    answer = await room.client.post(
        "/api/users", json={"id": "ada", "name": "x", "email": "a@b.example", "department": "y"}
    )
    assert (await problem_of(answer, 409))["url"] == "/api/sagas/ada"


@pytest.mark.field(28)
@pytest.mark.parametrize(
    ("how", "state", "part"),
    [
        ({}, "completed", "completed in 4.0 s"),
        ({"outcomes": {"authorize": NO}}, "rolled-back", "rolled back: no policy for the department"),
        ({"steps": 1}, "running", "running: waits for the Authorizer"),
    ],
)
async def test_a_conflict_says_how_the_saga_stands_or_ended_and_what_to_do(
    room: Any, how: dict[str, Any], state: str, part: str, now: Callable[[str], None]
) -> None:
    room.add("ada", **how)
    user = {"id": "ada", "name": "x", "email": "a@b.example", "department": "y"}
    body = await problem_of(await room.client.post("/api/users", json=user), 409)
    assert body["state"] == state
    assert part in body["detail"]
    assert body["detail"].split("; ")[1]
    listed = await problem_of(await room.client.post("/api/users", json=[user]), 422)
    assert part in listed["errors"][0]["message"]
    now(f"409: {body['detail']}")


async def test_pages_follow_each_other_and_carry_where_to_resume_the_stream(room: Any) -> None:
    for number in range(5):
        room.add(f"s{number}", begin=number)
    first = await get(room, "/api/sagas?limit=3&sort=started_at")
    second = await get(room, f"/api/sagas?limit=3&sort=started_at&cursor={first['next']}")
    assert [item["id"] for item in first["items"] + second["items"]] == [f"s{number}" for number in range(5)]
    assert second["next"] is None
    assert first["cursor_event"] == room.hub.cursor


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
async def test_a_wrong_parameter_is_named(room: Any, path: str, field: str) -> None:
    body = await get(room, path, 422)
    assert [error["field"] for error in body["errors"]] == [field]


async def test_what_is_not_there_is_a_404_and_while_the_index_is_read_a_503(room: Any) -> None:
    for path in ("/api/sagas/nobody", "/api/sagas/nobody/trace", "/api/nothing", "/nothing.js"):
        await get(room, path, 404)
    room.waits_for = "the index is being read"
    assert "is being read" in (await get(room, "/api/sagas/nobody", 503))["detail"]


async def test_a_wrong_method_is_a_405(room: Any) -> None:
    for method, path in (("DELETE", "/api/sagas/x"), ("POST", "/api/sagas"), ("GET", "/api/users"), ("PUT", "/")):
        await problem_of(await room.client.request(method, path), 405)


async def test_dead_letters_are_listed_and_grouped(room: Any) -> None:
    room.add("ada", steps=1)
    room.logs.park(room.logs.written[-2], 5)
    room.reading.read(room.logs.written[-1:])
    page = await get(room, "/api/errors")
    assert (page["total"], page["items"][0]["id"], page["items"][0]["topic"]) == (1, "ada", "authorize")
    group = (await get(room, "/api/errors?group=true"))["items"][0]
    assert (group["count"], group["example"]) == (1, page["items"][0]["name"])
    assert "parked at authorize" in (await get(room, "/api/sagas/ada"))["why"]


async def test_a_dead_letter_is_shown_with_its_bytes_though_nobody_can_read_it(room: Any) -> None:
    room.desk.write(lambda: garbage(room.logs, headers=[("ce_id", b"7")]))
    (item,) = (await get(room, "/api/errors"))["items"]
    assert (item["id"], item["readable"], item["open"]) == (None, False, True)
    whole = await get(room, "/api/errors/{topic}/{partition}/{offset}".format_map(item))
    assert item.items() <= whole.items()
    assert whole["value"] is None
    assert base64.b64decode(whole["value_base64"]) == b"\xff\x00 no message"
    assert json.loads(whole["headers"]["dead-letter"])["error"] == "BadMessage"


async def test_a_dead_letter_that_is_text_is_shown_as_text(room: Any) -> None:
    room.desk.write(lambda: parked(room.logs, "ada"))
    (item,) = (await get(room, "/api/errors"))["items"]
    whole = await get(room, "/api/errors/{topic}/{partition}/{offset}".format_map(item))
    assert (whole["key"], json.loads(whole["value"])["user"]["name"]) == ("ada", "Ada Lovelace")
    assert base64.b64decode(whole["value_base64"]).decode() == whole["value"]


async def test_a_dead_letter_that_is_not_there_is_a_404_and_without_a_broker_a_503(room: Any) -> None:
    for path in ("authorize/0/99", "nothing/0/0", "a/b/c", "authorize/0/99999999999999999999"):
        await get(room, f"/api/errors/{path}", 404)
    room.desk.write(lambda: garbage(room.logs))
    room.desk.operator.lookup = Lookup("127.0.0.1:1")
    (item,) = (await get(room, "/api/errors"))["items"]
    await get(room, "/api/errors/{topic}/{partition}/{offset}".format_map(item), 503)


async def post(room: Any, path: str, body: Any, status: int = 200, **headers: str) -> Any:
    """An answer that is as expected."""
    data = body if isinstance(body, bytes) else json.dumps(body)
    answer = await room.client.post(path, data=data, headers={"Content-Type": "application/json"} | headers)
    if status >= 400:
        return await problem_of(answer, status)
    assert answer.status == status, await answer.text()
    return await answer.json()


async def test_dead_letters_are_redriven_and_rolled_back_over_http(room: Any) -> None:
    room.desk.write(lambda: parked(room.logs, "ada", "bob"))
    everything = {"filter": {}, "dry_run": True}
    assert await post(room, "/api/errors/redrive", everything) == {"count": 2, "dry_run": True}
    assert await post(room, "/api/errors/redrive", {"ids": ["ada"], "by": "ana"}) == {"count": 1, "dry_run": False}
    assert await post(room, "/api/errors/rollback", {"ids": ["bob"], "by": "ana"}) == {"count": 1, "dry_run": False}
    assert [(s.id, s.kind, s.by) for s in room.desk.signals()] == [
        ("ada", "redriven", "ana"),
        ("bob", "cancelled", "ana"),
    ]
    await room.desk.provisioner()
    assert (await get(room, "/api/errors"))["total"] == 0
    assert (await get(room, "/api/sagas/bob"))["why"].startswith("rolling back (cancelled by ana)")
    told = [(e["kind"], e["data"].get("by")) for e in (await get(room, "/api/sagas/ada/trace"))["entries"]]
    assert told[-2:] == [("redriven", "ana"), ("requested", None)]


@pytest.mark.parametrize("path", ["/api/errors/redrive", "/api/errors/rollback"])
async def test_an_order_that_is_wrong_sends_nothing(room: Any, path: str) -> None:
    room.desk.write(lambda: parked(room.logs, "ada"))
    await post(room, path, b"{", 400)
    await post(room, path, b'{"filter":{},"rate":1e999}', 400)
    await post(room, path, {"ids": ["ada"]}, 403, Origin="http://elsewhere.example")
    await post(room, path, {"ids": ["ada", "nobody"]}, 404)
    await post(room, path, {"ids": ["ada"]}, 415, **{"Content-Type": "text/plain"})
    await post(room, path, b" " * (10 * 1024 * 1024 + 1), 413)
    assert (await post(room, path, {"ids": []}, 422))["errors"][0]["field"] == "ids"
    assert (await post(room, path, {"filter": {"x": "y"}}, 422))["errors"][0]["field"] == "filter.x"
    assert room.desk.sent == []


async def test_the_figures_are_there(room: Any) -> None:
    room.add("ada")
    room.add("bob", steps=1)
    stats = await get(room, "/api/stats")
    assert (stats["counts"]["completed"], stats["in_flight"]) == (1, 1)
    assert stats["steps"]["authorize"]["waiting"] == 1
    assert stats["duration"]["p50"] == 4.0


async def test_answers_are_as_the_contract_says(room: Any) -> None:
    room.add("ada")
    room.add("denied", outcomes={"authorize": NO})
    room.add("late", steps=1)
    room.logs.failed("late", "authorize", "authorizer", 3)
    dead = FakeRecord("notify", 1, 7, 0, b"?", b"garbage")
    room.logs.park(dead, 1, error="BadMessage")
    room.reading.read(room.logs.written[-2:])
    for path, model in (
        ("/api/sagas", schemas.SagaPage),
        ("/api/sagas/late", schemas.SagaNow),
        ("/api/sagas/denied/trace?raw=true", schemas.Timeline),
        ("/api/errors", schemas.DeadLetterPage),
        ("/api/errors?group=true", schemas.DeadLetterPage),
        (f"/api/errors/notify/{dead.partition}/{dead.offset}", schemas.DeadLetterWhole),
        ("/api/stats", schemas.Stats),
    ):
        answer = await get(room, path)
        contract = await get(room, "/openapi.json")
        jsonschema.validate(answer, {"$ref": f"#/components/schemas/{model.__name__}", **contract})


async def test_the_contracts_refer_to_nothing_that_is_missing(room: Any) -> None:
    for path in ("/openapi.json", "/asyncapi.json"):
        contract = await get(room, path)
        for reference in _references(contract):
            found: Any = contract
            for name in reference.removeprefix("#/").split("/"):
                found = found[name]
    openapi = await get(room, "/openapi.json")
    assert set(openapi["paths"]) == {call.path for call in room.api.calls()}
    for call in openapi["paths"].values():
        for operation in call.values():
            assert operation["summary"].endswith((".", "reset."))
    for schema in openapi["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [found for value in part.values() for found in _references(value)]
    return [found for value in part for found in _references(value)] if isinstance(part, list) else []


async def test_the_page_loads_nothing_from_elsewhere_and_is_checked_by_its_etag(room: Any) -> None:
    answer = await room.client.get("/")
    assert answer.status == 200
    assert answer.content_type == "text/html"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await room.client.get("/", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    script = await room.client.get("/page/app.js")
    assert script.content_type == "text/javascript"


@pytest.mark.field(45)
async def test_a_file_is_packed_and_each_form_is_checked_by_its_own_etag(room: Any) -> None:
    tags = {}
    for accepts in ("gzip", "identity"):
        asked = {"Accept-Encoding": accepts}
        answer = await room.client.get("/page/live/live.js", headers=asked)
        tags[accepts] = answer.headers["ETag"]
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers.get("Content-Encoding", "identity") == accepts
        assert "import" in await answer.text()
        for method in ("GET", "HEAD"):
            again = await room.client.request(
                method, "/page/live/live.js", headers=asked | {"If-None-Match": tags[accepts]}
            )
            assert (again.status, again.headers["ETag"], again.headers["Vary"]) == (
                304,
                tags[accepts],
                "Accept-Encoding",
            )
    assert tags["gzip"] != tags["identity"]
    other = {"Accept-Encoding": "identity", "If-None-Match": tags["gzip"]}
    assert (await room.client.get("/page/live/live.js", headers=other)).status == 200


@pytest.mark.field(45)
async def test_head_is_answered_wherever_get_is(room: Any) -> None:
    room.add("ada")
    for path in (
        "/",
        "/openapi.json",
        "/page/app.js",
        "/api/session",
        "/api/sagas/ada",
        "/api/sagas/nobody",
        "/nothing",
    ):
        got = await room.client.get(path)
        head = await room.client.head(path)
        assert (head.status, await head.read()) == (got.status, b"")
        same = ("Content-Type", "Content-Length", "Content-Encoding", "ETag", "Vary", "Cache-Control")
        assert [head.headers.get(name) for name in same] == [got.headers.get(name) for name in same]
    for call in room.api.calls():
        if call.method == "GET":
            assert (await room.client.head(call.path)).status in (200, 404)
    head = await room.client.head("/api/stream")
    assert (head.status, head.content_type, head.headers.get("Content-Encoding")) == (200, "text/event-stream", None)


@pytest.mark.field(45)
async def test_five_hundred_rows_are_a_tenth_as_long(room: Any, now: Callable[[str], None]) -> None:
    for number in range(500):
        room.add(f"s{number}")
    head = await room.client.head("/api/sagas?limit=500", headers={"Accept-Encoding": "gzip"})
    plain = await room.client.head("/api/sagas?limit=500", headers={"Accept-Encoding": "identity"})
    packed, whole = (int(answer.headers["Content-Length"]) for answer in (head, plain))
    assert packed * 10 < whole
    now(f"HEAD {head.status}; 500 rows: {whole // 1000} kB, {packed // 1000} kB with gzip")


@pytest.mark.parametrize(
    "path", ["/../api.py", "/%2e%2e/api.py", "/page/../api.py", "/./index.html/../../api.py", "/__pycache__"]
)
async def test_only_the_pages_own_files_are_given_away(room: Any, path: str) -> None:
    assert (await room.client.get(path)).status == 404


async def test_too_many_traces_at_once_are_refused(room: Any) -> None:
    trace = Trace(Lookup("127.0.0.1:1"), 3, False)
    trace.lookup.asking = 1000
    room.api.trace = trace
    room.add("ada")
    await get(room, "/api/sagas/ada/trace", 429)


async def test_a_trace_without_a_broker_is_a_503(room: Any) -> None:
    room.api.trace = Trace(Lookup("127.0.0.1:1"), 3, False)
    room.add("ada")
    await get(room, "/api/sagas/ada/trace", 503)
