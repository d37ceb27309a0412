"""A new user becomes a saga, or the client is told exactly why not."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from saga_app.saga.messages import User, parse
from saga_app.web.existing import ExistingSaga
from saga_app.web.idempotency import id_from_key, mark_of
from saga_app.web.new_users import NewUser, NewUsers
from saga_app.web.problem import Problem
from saga_app.web.start_saga import Ids, Starter
from tests.fakes.starter import ADA, FakeBatchingProducer, StarterServer, opened
from tests.web_server import post_bytes, problem_of, serving


@pytest.fixture
async def office() -> Any:
    async with opened() as made:
        yield made


async def test_a_user_is_accepted_and_the_request_goes_out_with_its_headers(office: StarterServer) -> None:
    answer = await office.post(ADA)
    body = await answer.json()
    assert answer.status == 202
    assert body == {"id": body["id"], "url": f"/api/sagas/{body['id']}"}
    assert answer.headers["Location"] == body["url"]
    (sent,) = office.producer.sent
    assert (sent.topic, sent.key) == ("new-user", body["id"].encode())
    message = parse("new-user", sent.value, ())
    assert message.user == User(**ADA)  # type: ignore[union-attr]
    headers = dict(sent.headers or ())
    assert headers["ce_id"].startswith(b"onboarding:" + sent.key)
    assert headers["traceparent"]


async def test_a_given_id_is_used_and_a_second_time_refused(office: StarterServer) -> None:
    assert (await (await office.post(ADA | {"id": "ada.1"})).json())["id"] == "ada.1"
    answer = await office.post(ADA | {"id": "ada.1"})
    body = await problem_of(answer, 409)
    assert body["url"] == answer.headers["Location"] == "/api/sagas/ada.1"
    await problem_of(await office.post(ADA | {"id": "taken"}), 409)
    assert len(office.producer.sent) == 1


async def test_the_same_idempotency_key_gets_the_same_answer_and_starts_nobody_twice(office: StarterServer) -> None:
    first, second = await office.post(ADA, key="k"), await office.post(ADA, key="k")
    assert first.status == second.status == 202
    assert await first.json() == await second.json()
    assert len(office.producer.sent) == 1
    other = await office.post(ADA | {"name": "Bob"}, key="k")
    assert "used for another user" in str((await problem_of(other, 422))["errors"])
    assert (await (await office.post(ADA, key="other")).json())["id"] != (await first.json())["id"]


BOB = {"name": "Bob", "email": "bob@example.com", "department": "Sales"}


async def test_an_id_of_somebody_elses_request_exists_whatever_the_key(office: StarterServer) -> None:
    await problem_of(await office.post(BOB | {"id": "taken"}, key="k"), 409)
    body = await problem_of(await office.post([ADA, BOB | {"id": "taken"}], key="k"), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "id")]
    assert not office.producer.sent
    assert (await office.post(ADA | {"id": "ada"}, key="mine")).status == 202
    await problem_of(await office.post(ADA | {"id": "ada"}, key="another"), 409)
    await problem_of(await office.post(ADA | {"id": "ada"}), 409)
    await problem_of(await office.post(BOB | {"id": "ada"}, key="mine"), 422)
    assert len(office.producer.sent) == 1


@pytest.mark.parametrize("many", [False, True])
async def test_an_id_of_ones_own_sent_again_with_its_key_gets_the_same_answer(
    office: StarterServer, many: bool
) -> None:
    body = [ADA | {"id": "ada"}, BOB] if many else ADA | {"id": "ada"}
    first, second = await office.post(body, key="k"), await office.post(body, key="k")
    assert (first.status, second.status) == (202, 202)
    assert await first.json() == await second.json()
    assert len(office.producer.sent) == 1 + many


async def test_an_id_that_arrived_without_an_acknowledgement_is_known_again_by_its_key() -> None:
    arrived: dict[str, ExistingSaga] = {}

    async def known(_ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        return arrived

    producer = FakeBatchingProducer()
    starter = Starter(producer, "cli", known=known)
    asked = NewUsers([NewUser(**ADA, id="ada")], many=False)
    producer.down = []
    with pytest.raises(Problem, match="nothing was accepted"):
        await starter.start(asked, "k")
    arrived["ada"] = ExistingSaga(user=User(**ADA), idempotency=mark_of("k", asked))
    producer.down = None
    assert (await starter.start(asked, "k")).ids == ["ada"]
    with pytest.raises(Problem, match="exists already"):
        await starter.start(asked, "other")
    assert not producer.sent


async def test_who_is_accepted_while_the_same_request_still_looks_for_her_is_sent_once() -> None:
    found = asyncio.Event()

    async def known(_ids: Sequence[str]) -> Mapping[str, ExistingSaga]:
        if len(slow) < 1:
            slow.append(1)
            await found.wait()
        return {}

    slow: list[int] = []
    producer = FakeBatchingProducer()
    starter = Starter(producer, "cli", known=known)
    asked = NewUsers([NewUser(**ADA)], many=False)
    first = asyncio.create_task(starter.start(asked, "k"))
    await asyncio.sleep(0)
    second = await starter.start(asked, "k")
    found.set()
    assert await first == second
    assert len(producer.sent) == 1


@pytest.mark.parametrize("many", [False, True])
async def test_of_two_bodies_with_one_key_at_the_same_time_one_is_accepted(office: StarterServer, many: bool) -> None:
    bodies = [[ADA, ADA], [ADA, BOB]] if many else [ADA, BOB]
    answers = sorted(await office.at_once(*bodies, key="k"), key=lambda answer: int(answer.status))
    assert answers[0].status == 202
    assert "in progress, or the key was used for another user" in (await problem_of(answers[1], 409))["detail"]
    assert len(office.producer.sent) == 1 + many


@pytest.mark.parametrize("body", [ADA, [ADA, BOB], ADA | {"id": "ada"}], ids=["one", "list", "own id"])
async def test_the_same_request_three_times_at_once_is_sent_once_and_answered_after_it_is_there(
    office: StarterServer, body: Any
) -> None:
    answers = await office.at_once(body, body, body, key="k")
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert len({await answer.text() for answer in answers}) == 1
    assert office.producer.asked == 1


async def test_who_waits_for_the_same_request_is_told_when_it_fails(office: StarterServer) -> None:
    office.producer.down = []
    answers = await office.at_once(ADA, ADA, key="k")
    for answer in answers:
        assert "nothing was accepted" in (await problem_of(answer, 503))["detail"]
    assert office.producer.asked == 1
    office.producer.down = None
    assert (await office.post(ADA, key="k")).status == 202


async def test_a_request_that_is_broken_off_leaves_nobody_waiting() -> None:
    producer = FakeBatchingProducer()
    producer.open.clear()
    starter = Starter(producer, "cli")
    asked = NewUsers([NewUser(**ADA)], many=False)
    first, second = (asyncio.create_task(starter.start(asked, "k")) for _ in range(2))
    async with asyncio.timeout(5):
        while not starter.pending:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(Problem, match="its outcome is unknown"):
            await second
        producer.open.set()
        assert (await starter.start(asked, "k")).ids == [id_from_key("k", 0)]


async def test_who_stops_waiting_does_not_end_the_request_of_the_others() -> None:
    producer = FakeBatchingProducer()
    producer.open.clear()
    starter = Starter(producer, "cli")
    asked = NewUsers([NewUser(**ADA)], many=False)
    first, second, third = (asyncio.create_task(starter.start(asked, "k")) for _ in range(3))
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
async def test_an_idempotency_key_is_printable(office: StarterServer, key: str) -> None:
    answer = await office.post(ADA, **{"Idempotency-Key": key})
    assert "printable ASCII" in (await problem_of(answer, 400))["detail"]
    assert not office.producer.sent


@pytest.mark.parametrize("key", [b"\xe4", "ä".encode()])
async def test_an_idempotency_key_is_ascii(office: StarterServer, key: bytes) -> None:
    answer = await post_bytes(office.client, "/users", ADA, {"Idempotency-Key": key})
    assert "printable ASCII" in (await problem_of(answer, 400))["detail"]
    assert not office.producer.sent


async def test_the_url_of_an_id_with_letters_of_any_language_can_be_asked_for(office: StarterServer) -> None:
    answer = await office.post(ADA | {"id": "zoë:1"})
    assert await answer.json() == {"id": "zoë:1", "url": "/api/sagas/zo%C3%AB:1"}
    assert answer.headers["Location"] == "/api/sagas/zo%C3%AB:1"
    again = await office.post(ADA | {"id": "zoë:1"})
    assert (await problem_of(again, 409))["url"] == again.headers["Location"] == "/api/sagas/zo%C3%AB:1"


async def test_a_list_that_was_acknowledged_in_part_is_completed_by_sending_it_again(office: StarterServer) -> None:
    crowd = [ADA | {"name": f"Ada {number}"} for number in range(4)]
    office.producer.down = [1, 3]
    body = await problem_of(await office.post(crowd, key="list"), 503)
    assert body["accepted"] == 2
    office.producer.down = None
    answer = await (await office.post(crowd, key="list")).json()
    assert answer["accepted"] == 4
    assert [user["name"] for user in office.producer.users] == ["Ada 1", "Ada 3"]
    assert body["ids"] == [answer["ids"][0], answer["ids"][2]]


async def test_when_the_broker_is_away_the_client_is_told_that_nothing_was_accepted(office: StarterServer) -> None:
    office.producer.down = []
    answer = await office.post(ADA)
    assert "nothing was accepted" in (await problem_of(answer, 503))["detail"]
    assert answer.headers["Retry-After"]
    office.producer.down = None
    assert (await office.post(ADA | {"id": "again"})).status == 202


async def test_an_id_that_the_broker_did_not_acknowledge_is_free_again(office: StarterServer) -> None:
    office.producer.down = []
    await problem_of(await office.post(ADA | {"id": "ada"}), 503)
    office.producer.down = None
    assert (await office.post(ADA | {"id": "ada"})).status == 202


async def test_where_there_is_no_room_nothing_is_sent() -> None:
    producer = FakeBatchingProducer()
    starter = Starter(producer, "console", room=lambda count: "it is full" if count > 1 else None)
    async with serving(lambda app: app.router.add_post("/users", starter.handle)) as client:
        office = StarterServer(client, producer, starter)
        assert (await office.post([ADA])).status == 202
        assert "it is full" in (await problem_of(await office.post([ADA, ADA]), 503))["detail"]
        assert len(producer.sent) == 1


def test_ids_are_short_unique_and_sort_by_their_time_even_within_a_millisecond() -> None:
    now = [1_700_000_000.0]
    make = Ids(lambda: now[0])
    ids = []
    for number in range(5000):
        now[0] += 0.001 * (number % 100 == 0)
        ids.append(make())
    now[0] -= 5  # the clock is set back
    ids.append(make())
    assert ids == sorted(set(ids))
    assert {len(id) for id in ids} == {18}


def test_ids_of_a_key_differ_by_key_and_place() -> None:
    ids = {id_from_key(key, index) for key in ("a", "b", "1\na") for index in range(100)}
    assert len(ids) == 300
    assert id_from_key("a", 1) == id_from_key("a", 1)


async def test_the_command_line_starts_sagas_without_a_web_server() -> None:
    producer = FakeBatchingProducer()
    started = await Starter(producer, "cli").start(NewUsers([NewUser(**ADA)], many=False))
    assert started.answer("/sagas/{}").headers["Location"] == f"/sagas/{started.ids[0]}"
    assert len(producer.sent) == 1
