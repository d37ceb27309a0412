"""The HTTP API for dead letters, redrives and rollbacks."""

import base64
import json

import pytest

from saga_app.console.kafka.lookup import Lookup
from tests.unit.console.api_harness import ApiHarness
from tests.unit.console.operator_harness import write_garbage, write_parked_sagas


async def test_dead_letters_are_listed_and_grouped(api: ApiHarness) -> None:
    api.add_saga("ada", steps=1)
    api.topics.park(api.topics.records[-2], 5)
    api.index.read(api.topics.records[-1:])
    page = await api.get("/api/errors")
    assert (page["total"], page["items"][0]["id"], page["items"][0]["topic"]) == (1, "ada", "authorize")
    group = (await api.get("/api/errors?group=true"))["items"][0]
    assert (group["count"], group["example"]) == (1, page["items"][0]["name"])
    assert "parked at authorize" in (await api.get("/api/sagas/ada"))["why"]


async def test_an_unreadable_dead_letter_is_returned_with_its_bytes(api: ApiHarness) -> None:
    api.operator.write(lambda: write_garbage(api.topics, headers=[("ce_id", b"7")]))
    (item,) = (await api.get("/api/errors"))["items"]
    assert (item["id"], item["readable"], item["open"]) == (None, False, True)
    whole = await api.get("/api/errors/{topic}/{partition}/{offset}".format_map(item))
    assert item.items() <= whole.items()
    assert whole["value"] is None
    assert base64.b64decode(whole["value_base64"]) == b"\xff\x00 no message"
    assert json.loads(whole["headers"]["dead-letter"])["error"] == "BadMessage"


async def test_a_dead_letter_with_text_is_returned_as_text_and_bytes(api: ApiHarness) -> None:
    api.operator.write(lambda: write_parked_sagas(api.topics, "ada"))
    (item,) = (await api.get("/api/errors"))["items"]
    whole = await api.get("/api/errors/{topic}/{partition}/{offset}".format_map(item))
    assert (whole["key"], json.loads(whole["value"])["user"]["name"]) == ("ada", "Ada Lovelace")
    assert base64.b64decode(whole["value_base64"]).decode() == whole["value"]


async def test_a_missing_dead_letter_is_a_404_and_an_absent_broker_a_503(api: ApiHarness) -> None:
    for path in ("authorize/0/99", "nothing/0/0", "a/b/c", "authorize/0/99999999999999999999"):
        await api.get(f"/api/errors/{path}", 404)
    api.operator.write(lambda: write_garbage(api.topics))
    api.operator.operator.lookup = Lookup("127.0.0.1:1")
    (item,) = (await api.get("/api/errors"))["items"]
    await api.get("/api/errors/{topic}/{partition}/{offset}".format_map(item), 503)


async def test_dead_letters_are_redriven_and_rolled_back_over_http(api: ApiHarness) -> None:
    api.operator.write(lambda: write_parked_sagas(api.topics, "ada", "bob"))
    everything = {"filter": {}, "dry_run": True}
    assert await api.post("/api/errors/redrive", everything) == {"count": 2, "dry_run": True}
    assert await api.post("/api/errors/redrive", {"ids": ["ada"], "by": "ana"}) == {"count": 1, "dry_run": False}
    assert await api.post("/api/errors/rollback", {"ids": ["bob"], "by": "ana"}) == {"count": 1, "dry_run": False}
    assert [(s.id, s.kind, s.by) for s in api.operator.signals()] == [
        ("ada", "redriven", "ana"),
        ("bob", "cancelled", "ana"),
    ]
    await api.operator.run_provisioner()
    assert (await api.get("/api/errors"))["total"] == 0
    assert (await api.get("/api/sagas/bob"))["why"].startswith("rolling back (cancelled by ana)")
    shown = [(e["kind"], e["data"].get("by")) for e in (await api.get("/api/sagas/ada/trace"))["entries"]]
    assert shown[-2:] == [("redriven", "ana"), ("requested", None)]


@pytest.mark.parametrize("path", ["/api/errors/redrive", "/api/errors/rollback"])
async def test_an_invalid_redrive_or_rollback_request_sends_nothing(api: ApiHarness, path: str) -> None:
    api.operator.write(lambda: write_parked_sagas(api.topics, "ada"))
    await api.post(path, b"{", 400)
    await api.post(path, b'{"filter":{},"rate":1e999}', 400)
    await api.post(path, {"ids": ["ada"]}, 403, Origin="http://elsewhere.example")
    await api.post(path, {"ids": ["ada", "nobody"]}, 404)
    await api.post(path, {"ids": ["ada"]}, 415, **{"Content-Type": "text/plain"})
    await api.post(path, b" " * (10 * 1024 * 1024 + 1), 413)
    assert (await api.post(path, {"ids": []}, 422))["errors"][0]["field"] == "ids"
    assert (await api.post(path, {"filter": {"x": "y"}}, 422))["errors"][0]["field"] == "filter.x"
    assert api.operator.sent == []
