"""The contracts of the API, the files of the page, and HTTP features that concern all responses."""

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from saga_app.console.http import schemas
from tests.builders import NO
from tests.fakes.record import FakeRecord
from tests.unit.console.api_harness import ApiHarness


async def test_responses_match_the_schemas_of_the_openapi_document(api: ApiHarness) -> None:
    api.add_saga("ada")
    api.add_saga("denied", outcomes={"authorize": NO})
    api.add_saga("late", steps=1)
    api.topics.write_failed_attempt("late", "authorize", "authorizer", 3)
    dead = FakeRecord("notify", 1, 7, 0, b"?", b"garbage")
    api.topics.park(dead, 1, error="BadMessage")
    api.index.read(api.topics.records[-2:])
    for path, model in (
        ("/api/sagas", schemas.SagaPage),
        ("/api/sagas/late", schemas.SagaNow),
        ("/api/sagas/denied/trace?raw=true", schemas.Timeline),
        ("/api/errors", schemas.DeadLetterPage),
        ("/api/errors?group=true", schemas.DeadLetterPage),
        (f"/api/errors/notify/{dead.partition}/{dead.offset}", schemas.DeadLetterWhole),
        ("/api/stats", schemas.Stats),
    ):
        response = await api.get(path)
        contract = await api.get("/openapi.json")
        jsonschema.validate(response, {"$ref": f"#/components/schemas/{model.__name__}", **contract})


async def test_all_references_in_the_contracts_resolve(api: ApiHarness) -> None:
    for path in ("/openapi.json", "/asyncapi.json"):
        contract = await api.get(path)
        for reference in _references(contract):
            found: Any = contract
            for name in reference.removeprefix("#/").split("/"):
                found = found[name]
    openapi = await api.get("/openapi.json")
    assert set(openapi["paths"]) == {call.path for call in api.handlers.calls()}
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


async def test_the_page_has_security_headers_and_is_revalidated_by_etag(api: ApiHarness) -> None:
    response = await api.client.get("/")
    assert response.status == 200
    assert response.content_type == "text/html"
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    again = await api.client.get("/", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    script = await api.client.get("/page/app.js")
    assert script.content_type == "text/javascript"


@pytest.mark.field(45)
async def test_compressed_and_plain_files_have_different_etags(api: ApiHarness) -> None:
    tags = {}
    for encoding in ("gzip", "identity"):
        headers = {"Accept-Encoding": encoding}
        response = await api.client.get("/page/live/live.js", headers=headers)
        tags[encoding] = response.headers["ETag"]
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers.get("Content-Encoding", "identity") == encoding
        assert "import" in await response.text()
        for method in ("GET", "HEAD"):
            again = await api.client.request(
                method, "/page/live/live.js", headers=headers | {"If-None-Match": tags[encoding]}
            )
            assert (again.status, again.headers["ETag"], again.headers["Vary"]) == (
                304,
                tags[encoding],
                "Accept-Encoding",
            )
    assert tags["gzip"] != tags["identity"]
    other = {"Accept-Encoding": "identity", "If-None-Match": tags["gzip"]}
    assert (await api.client.get("/page/live/live.js", headers=other)).status == 200


@pytest.mark.field(45)
async def test_head_returns_the_status_and_headers_of_get(api: ApiHarness) -> None:
    api.add_saga("ada")
    for path in (
        "/",
        "/openapi.json",
        "/page/app.js",
        "/api/session",
        "/api/sagas/ada",
        "/api/sagas/nobody",
        "/nothing",
    ):
        got = await api.client.get(path)
        head = await api.client.head(path)
        assert (head.status, await head.read()) == (got.status, b"")
        same = ("Content-Type", "Content-Length", "Content-Encoding", "ETag", "Vary", "Cache-Control")
        assert [head.headers.get(name) for name in same] == [got.headers.get(name) for name in same]
    for call in api.handlers.calls():
        if call.method == "GET":
            assert (await api.client.head(call.path)).status in (200, 404)
    head = await api.client.head("/api/stream")
    assert (head.status, head.content_type, head.headers.get("Content-Encoding")) == (200, "text/event-stream", None)


@pytest.mark.field(45)
async def test_gzip_shrinks_a_page_of_500_rows_to_less_than_a_tenth(
    api: ApiHarness, now: Callable[[str], None]
) -> None:
    for number in range(500):
        api.add_saga(f"s{number}")
    head = await api.client.head("/api/sagas?limit=500", headers={"Accept-Encoding": "gzip"})
    plain = await api.client.head("/api/sagas?limit=500", headers={"Accept-Encoding": "identity"})
    packed, whole = (int(response.headers["Content-Length"]) for response in (head, plain))
    assert packed * 10 < whole
    now(f"HEAD {head.status}; 500 rows: {whole // 1000} kB, {packed // 1000} kB with gzip")


@pytest.mark.parametrize(
    "path", ["/../api.py", "/%2e%2e/api.py", "/page/../api.py", "/./index.html/../../api.py", "/__pycache__"]
)
async def test_only_files_of_the_page_are_served(api: ApiHarness, path: str) -> None:
    assert (await api.client.get(path)).status == 404
