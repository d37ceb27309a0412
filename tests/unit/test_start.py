"""Starting sagas over HTTP: ids, idempotency keys, concurrent requests and partial acknowledgements."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from saga_app.saga.codec import parse
from saga_app.saga.messages import Message, User
from saga_app.web.existing import ExistingSaga
from saga_app.web.idempotency import id_from_key, mark_of
from saga_app.web.new_users import NewUser, NewUsers
from saga_app.web.problem import Problem
from saga_app.web.start_saga import Ids, Starter
from tests.fakes.clock import FakeClock
from tests.fakes.starter import ADA, FakeBatchingProducer, StarterServer, running_starter
from tests.web_server import post_bytes, problem_of, serving


@pytest.fixture
async def server() -> AsyncIterator[StarterServer]:
    async with running_starter() as server:
        yield server


async def test_a_user_is_accepted_and_its_request_sent_with_headers(server: StarterServer) -> None:
    answer = await server.post(ADA)
    body = await answer.json()
    assert answer.status == 202
    assert body == {"id": body["id"], "url": f"/api/sagas/{body['id']}"}
    assert answer.headers["Location"] == body["url"]
    (sent,) = server.producer.sent
    assert (sent.topic, sent.key) == ("new-user", body["id"].encode())
    message = parse("new-user", sent.value, ())
    assert isinstance(message, Message)
    assert message.user == User(**ADA)
    headers = dict(sent.headers or ())
    assert (headers["ce_id"] or b"").startswith(f"onboarding:{body['id']}".encode())
    assert headers["traceparent"]


async def test_an_id_of_the_client_is_used_once(server: StarterServer) -> None:
    assert (await (await server.post(ADA | {"id": "ada.1"})).json())["id"] == "ada.1"
    answer = await server.post(ADA | {"id": "ada.1"})
    body = await problem_of(answer, 409)
    assert body["url"] == answer.headers["Location"] == "/api/sagas/ada.1"
    await problem_of(await server.post(ADA | {"id": "taken"}), 409)
    assert len(server.producer.sent) == 1


async def test_a_repeated_request_with_a_key_gets_the_same_response(server: StarterServer) -> None:
    first, second = await server.post(ADA, key="k"), await server.post(ADA, key="k")
    assert first.status == second.status == 202
    assert await first.json() == await second.json()
    assert len(server.producer.sent) == 1
    conflict = await server.post(ADA | {"name": "Bob"}, key="k")
    assert "used for another user" in str((await problem_of(conflict, 422))["errors"])
    assert (await (await server.post(ADA, key="other")).json())["id"] != (await first.json())["id"]


BOB = {"name": "Bob", "email": "bob@example.com", "department": "Sales"}


async def test_an_id_of_another_request_is_a_conflict_with_any_key(server: StarterServer) -> None:
    await problem_of(await server.post(BOB | {"id": "taken"}, key="k"), 409)
    body = await problem_of(await server.post([ADA, BOB | {"id": "taken"}], key="k"), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "id")]
    assert not server.producer.sent
    assert (await server.post(ADA | {"id": "ada"}, key="mine")).status == 202
    await problem_of(await server.post(ADA | {"id": "ada"}, key="another"), 409)
    await problem_of(await server.post(ADA | {"id": "ada"}), 409)
    await problem_of(await server.post(BOB | {"id": "ada"}, key="mine"), 422)
    assert len(server.producer.sent) == 1


@pytest.mark.parametrize("many", [False, True])
async def test_a_repeated_request_with_its_own_ids_gets_the_same_response(server: StarterServer, many: bool) -> None:
    body = [ADA | {"id": "ada"}, BOB] if many else ADA | {"id": "ada"}
    first, second = await server.post(body, key="k"), await server.post(body, key="k")
    assert (first.status, second.status) == (202, 202)
    assert await first.json() == await second.json()
    assert len(server.producer.sent) == 1 + many


async def test_an_unacknowledged_saga_is_recognised_by_its_key() -> None:
    existing: dict[str, ExistingSaga] = {}

    async def known(_ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        return existing

    producer = FakeBatchingProducer()
    starter = Starter(producer, "cli", known=known)
    request = NewUsers([NewUser(**ADA, id="ada")], many=False)
    producer.unacknowledged = []
    with pytest.raises(Problem, match="nothing was accepted"):
        await starter.start(request, "k")
    existing["ada"] = ExistingSaga(user=User(**ADA), idempotency=mark_of("k", request))
    producer.unacknowledged = None
    assert (await starter.start(request, "k")).ids == ["ada"]
    with pytest.raises(Problem, match="exists already"):
        await starter.start(request, "other")
    assert not producer.sent


async def test_a_user_accepted_during_the_lookup_of_a_duplicate_is_sent_once() -> None:
    first_lookup_may_end = asyncio.Event()
    lookups: list[Sequence[str]] = []

    async def known(ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        lookups.append(ids)
        if len(lookups) == 1:
            await first_lookup_may_end.wait()
        return {}

    producer = FakeBatchingProducer()
    starter = Starter(producer, "cli", known=known)
    request = NewUsers([NewUser(**ADA)], many=False)
    first = asyncio.create_task(starter.start(request, "k"))
    await asyncio.sleep(0)
    second = await starter.start(request, "k")
    first_lookup_may_end.set()
    assert await first == second
    assert len(producer.sent) == 1


@pytest.mark.parametrize("many", [False, True])
async def test_of_two_concurrent_bodies_with_one_key_one_is_accepted(server: StarterServer, many: bool) -> None:
    bodies = [[ADA, ADA], [ADA, BOB]] if many else [ADA, BOB]
    answers = sorted(await server.post_concurrently(*bodies, key="k"), key=lambda answer: int(answer.status))
    assert answers[0].status == 202
    assert "in progress, or the key was used for another user" in (await problem_of(answers[1], 409))["detail"]
    assert len(server.producer.sent) == 1 + many


@pytest.mark.parametrize("body", [ADA, [ADA, BOB], ADA | {"id": "ada"}], ids=["one", "list", "own id"])
async def test_concurrent_duplicates_are_sent_once_and_all_answered(server: StarterServer, body: Any) -> None:
    answers = await server.post_concurrently(body, body, body, key="k")
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert len({await answer.text() for answer in answers}) == 1
    assert server.producer.calls == 1


async def test_concurrent_duplicates_get_the_error_of_the_first_request(server: StarterServer) -> None:
    server.producer.unacknowledged = []
    answers = await server.post_concurrently(ADA, ADA, key="k")
    for answer in answers:
        assert "nothing was accepted" in (await problem_of(answer, 503))["detail"]
    assert server.producer.calls == 1
    server.producer.unacknowledged = None
    assert (await server.post(ADA, key="k")).status == 202


async def test_duplicates_of_a_cancelled_request_get_an_error() -> None:
    producer = FakeBatchingProducer()
    producer.open.clear()
    starter = Starter(producer, "cli")
    request = NewUsers([NewUser(**ADA)], many=False)
    first, second = (asyncio.create_task(starter.start(request, "k")) for _ in range(2))
    async with asyncio.timeout(5):
        while not starter.pending:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(Problem, match="its outcome is unknown"):
            await second
        producer.open.set()
        assert (await starter.start(request, "k")).ids == [id_from_key("k", 0)]


async def test_cancelling_a_duplicate_does_not_cancel_the_request() -> None:
    producer = FakeBatchingProducer()
    producer.open.clear()
    starter = Starter(producer, "cli")
    request = NewUsers([NewUser(**ADA)], many=False)
    first, second, third = (asyncio.create_task(starter.start(request, "k")) for _ in range(3))
    async with asyncio.timeout(5):
        while not starter.pending:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        producer.open.set()
        assert await first == await third
    assert len(producer.sent) == 1


@pytest.mark.parametrize("key", ["tab\there", "x" * 256, ""])
async def test_an_unprintable_empty_or_long_idempotency_key_is_refused(server: StarterServer, key: str) -> None:
    answer = await server.post(ADA, **{"Idempotency-Key": key})
    assert "printable ASCII" in (await problem_of(answer, 400))["detail"]
    assert not server.producer.sent


@pytest.mark.parametrize("key", [b"\xe4", "ä".encode()])
async def test_a_non_ascii_idempotency_key_is_refused(server: StarterServer, key: bytes) -> None:
    answer = await post_bytes(server.client, "/users", ADA, {"Idempotency-Key": key})
    assert "printable ASCII" in (await problem_of(answer, 400))["detail"]
    assert not server.producer.sent


async def test_the_url_of_a_non_ascii_id_is_encoded(server: StarterServer) -> None:
    answer = await server.post(ADA | {"id": "zoë:1"})
    assert await answer.json() == {"id": "zoë:1", "url": "/api/sagas/zo%C3%AB:1"}
    assert answer.headers["Location"] == "/api/sagas/zo%C3%AB:1"
    again = await server.post(ADA | {"id": "zoë:1"})
    assert (await problem_of(again, 409))["url"] == again.headers["Location"] == "/api/sagas/zo%C3%AB:1"


async def test_repeating_a_partly_acknowledged_list_completes_it(server: StarterServer) -> None:
    users = [ADA | {"name": f"Ada {number}"} for number in range(4)]
    server.producer.unacknowledged = [1, 3]
    body = await problem_of(await server.post(users, key="list"), 503)
    assert body["accepted"] == 2
    server.producer.unacknowledged = None
    answer = await (await server.post(users, key="list")).json()
    assert answer["accepted"] == 4
    assert [user["name"] for user in server.producer.users] == ["Ada 1", "Ada 3"]
    assert body["ids"] == [answer["ids"][0], answer["ids"][2]]


async def test_without_an_acknowledgement_nothing_is_reported_as_accepted(server: StarterServer) -> None:
    server.producer.unacknowledged = []
    answer = await server.post(ADA)
    assert "nothing was accepted" in (await problem_of(answer, 503))["detail"]
    assert answer.headers["Retry-After"]
    server.producer.unacknowledged = None
    assert (await server.post(ADA | {"id": "again"})).status == 202


async def test_an_unacknowledged_id_can_be_used_again(server: StarterServer) -> None:
    server.producer.unacknowledged = []
    await problem_of(await server.post(ADA | {"id": "ada"}), 503)
    server.producer.unacknowledged = None
    assert (await server.post(ADA | {"id": "ada"})).status == 202


async def test_without_headroom_nothing_is_sent() -> None:
    producer = FakeBatchingProducer()
    starter = Starter(producer, "console", headroom=lambda count: "the broker is full" if count > 1 else None)
    async with serving(lambda app: app.router.add_post("/users", starter.handle)) as client:
        server = StarterServer(client, producer, starter)
        assert (await server.post([ADA])).status == 202
        assert "the broker is full" in (await problem_of(await server.post([ADA, ADA]), 503))["detail"]
        assert len(producer.sent) == 1


def test_ids_are_unique_and_sort_by_time_within_a_millisecond() -> None:
    clock = FakeClock()
    new_id = Ids(clock)
    ids = []
    for number in range(5000):
        clock.now += 0.001 * (number % 100 == 0)
        ids.append(new_id())
    clock.now -= 5  # the clock is set back
    ids.append(new_id())
    assert ids == sorted(set(ids))
    assert {len(id) for id in ids} == {18}


def test_ids_from_an_idempotency_key_differ_by_key_and_index() -> None:
    ids = {id_from_key(key, index) for key in ("a", "b", "1\na") for index in range(100)}
    assert len(ids) == 300
    assert id_from_key("a", 1) == id_from_key("a", 1)


async def test_sagas_can_be_started_without_a_web_server() -> None:
    producer = FakeBatchingProducer()
    started = await Starter(producer, "cli").start(NewUsers([NewUser(**ADA)], many=False))
    assert started.answer("/sagas/{}").headers["Location"] == f"/sagas/{started.ids[0]}"
    assert len(producer.sent) == 1
