"""The Provisioner's HTTP views: validation of parameters, paging, and conflicts with existing sagas."""

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from yarl import URL

from saga_app.saga.codec import encode
from saga_app.saga.messages import Row, User
from saga_app.saga.times import utc
from saga_app.service.memory.rows import Rows
from saga_app.settings import Settings
from saga_app.stream import partition_of
from saga_app.web.views import add_routes
from tests.web_server import problem_of, serving

Client = TestClient[web.Request, web.Application]

ADA = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}
NOW = utc(1_767_261_600)


class FakeTable:
    """The table `sagas` with running sagas of these ids, in memory and read-only."""

    name, changelog_topic_name = "sagas", "changelog"

    def __init__(self, *ids: str) -> None:
        self.held = {id.encode(): encode(_row(id)) for id in ids}

    def read(self, _partition: int, key: bytes) -> bytes | None:
        return self.held.get(key)

    def write(self, outputs: Any, partition: int, key: bytes, value: bytes | None) -> None:
        raise AssertionError("a view has written a row")

    def rows(self, after: tuple[int, bytes] | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        placed = sorted((partition_of(key, 12), key, value) for key, value in self.held.items())
        return (row for row in placed if after is None or row[:2] > after)


def _row(id: str) -> Row:
    return Row(
        v=1,
        id=id,
        saga="onboarding",
        user=User(**ADA),
        state="running",
        step="provision",
        attempt=1,
        started_at=NOW,
        updated_at=NOW,
    )


class FakeRouter:
    """Routes all partitions to this worker."""

    def table_metadata(self, _name: str) -> dict[str, dict[str, list[int]]]:
        return {"http://127.0.0.1:1": {"changelog": list(range(12))}}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a Provisioner with the sagas ada, bob and zoë."""
    table = FakeTable("ada", "bob", "zoë")

    def routes(web_app: web.Application) -> None:
        app = SimpleNamespace(
            settings=Settings(partitions=12),
            conf=SimpleNamespace(canonical_url=URL("http://127.0.0.1:1"), broker_session_timeout=10.0),
            gate=SimpleNamespace(waits_for=None),
            should_stop=False,
            checks=(),
            agents={},
            router=FakeRouter(),
            web=SimpleNamespace(web_app=web_app),
        )
        add_routes(app, table, Rows(table))  # type: ignore[arg-type]

    async with serving(routes) as client:
        yield client


async def test_an_id_with_a_row_is_a_conflict(client: Client) -> None:
    body = await problem_of(await client.post("/users", json=ADA | {"id": "ada"}), 409)
    assert body["url"] == "/sagas/ada"


@pytest.mark.field(37)
@pytest.mark.parametrize("text", ["a%00b", "%ff", "%ed%a0%80", "%zz", "%", "%25", "a%2Fb", "%F0%9F%98%80"])
async def test_an_odd_id_is_not_found(client: Client, text: str) -> None:
    await problem_of(await client.get(URL(f"/sagas/{text}", encoded=True)), 404)
    answer = await client.get(URL(f"/sagas/?after=1.{text}", encoded=True))
    assert answer.status == 200
    await problem_of(await client.get(URL(f"/sagas/?state={text}", encoded=True)), 422)


@pytest.mark.field(28)
async def test_a_conflict_states_the_saga_and_the_next_action(client: Client) -> None:
    body = await problem_of(await client.post("/users", json=ADA | {"id": "ada"}), 409)
    assert body["state"] == "running"
    assert "running: waits for the Provisioner" in body["detail"]
    assert "saga rollback ada" in body["detail"]


@pytest.mark.field(16)
@pytest.mark.parametrize(("forwarded", "shown"), [({}, False), ({"X-Saga-Forwarded": "1"}, True)])
async def test_only_other_workers_see_which_request_started_a_saga(
    client: Client, forwarded: dict[str, str], shown: bool
) -> None:
    row = await (await client.get("/sagas/ada", headers=forwarded)).json()
    assert ("idempotency" in row) == shown


async def test_rows_are_listed_in_pages(client: Client) -> None:
    seen: list[str] = []
    after: str | None = ""
    while after is not None and len(seen) < 4:
        page = await (await client.get("/sagas/", params={"limit": 1, "after": after, "state": "running"})).json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
    assert sorted(seen) == ["ada", "bob", "zoë"]
    assert (await (await client.get("/sagas/?state=completed")).json())["items"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "²"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "many"),
        ("limit", "9" * 5000),
        ("after", "².a"),
        ("after", "1"),
        ("after", "1."),
        ("after", ".a"),
        ("after", "9" * 5000 + ".a"),
        ("state", "asleep"),
        ("colour", "blue"),
    ],
)
async def test_an_invalid_parameter_is_named(client: Client, name: str, value: str) -> None:
    body = await problem_of(await client.get("/sagas/", params={name: value}), 422)
    assert [error["field"] for error in body["errors"]] == [name]
    assert len(body["detail"]) < 300
