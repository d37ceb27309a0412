"""An Idempotency-Key belongs to one body: at the console and at the Provisioner, also after a restart."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.codec import decode
from saga_app.saga.messages import Message
from saga_app.web.idempotency import key_part, mark_of
from saga_app.web.new_users import from_csv, from_json
from saga_app.web.start_saga import EXISTING_HEADER
from tests.fakes.starter import ADA, SharedTopics
from tests.web_server import problem_of

BOB = ADA | {"name": "Bob"}
CEM = ADA | {"name": "Cem"}


#: Bodies that differ from [ADA, BOB].
OTHER_BODIES: dict[str, Any] = {
    "more": [ADA, BOB, CEM],
    "fewer": [ADA],
    "one, not a list": ADA,
    "another order": [BOB, ADA],
    "another user": [ADA, CEM],
    "another first": [CEM, BOB],
    "with an id": [ADA, BOB | {"id": "bob"}],
    "all with ids": [ADA | {"id": "ada"}, BOB | {"id": "bob"}],
    "another department": [ADA, BOB | {"department": "People"}],
}


@pytest.mark.field(16)
@pytest.mark.parametrize("restarted", [False, True], ids=["same process", "restarted"])
@pytest.mark.parametrize("name", OTHER_BODIES)
async def test_a_key_with_another_body_is_refused(name: str, restarted: bool, now: Callable[[str], None]) -> None:
    topics = SharedTopics()
    async with topics.process() as first, topics.process() as second:
        assert (await first.post([ADA, BOB], key="k")).status == 202
        body = await problem_of(await (second if restarted else first).post(OTHER_BODIES[name], key="k"), 422)
        assert "a key belongs to one body" in body["detail"]
        assert "nothing was sent" in body["detail"]
        assert len(topics.producer.sent) == 2
        assert (await second.post([ADA, BOB], key="k")).status == 202
        assert len(topics.producer.sent) == 2
        now(f"{body['status']}: {body['detail'][:60]}")


@pytest.mark.field(16)
async def test_a_key_belongs_to_one_body_even_if_users_have_ids() -> None:
    topics = SharedTopics()
    async with topics.process() as first, topics.process() as restarted:
        assert (await first.post(ADA | {"id": "ada"}, key="k")).status == 202
        for process in (first, restarted):
            await problem_of(await process.post(BOB | {"id": "bob"}, key="k"), 422)
            await problem_of(await process.post(BOB | {"id": "ada"}, key="k"), 422)
            assert (await process.post(ADA | {"id": "ada"}, key="k")).status == 202
    assert len(topics.producer.sent) == 1


@pytest.mark.field(16)
@pytest.mark.parametrize("body", [[ADA, BOB], ADA, ADA | {"id": "ada"}], ids=["list", "one", "own id"])
async def test_a_key_used_at_the_console_is_known_at_the_provisioner(body: Any) -> None:
    topics = SharedTopics()
    async with topics.process() as console, topics.process(by_key=False) as provisioner:
        first = await console.post(body, key="k")
        second = await provisioner.post(body, key="k")
        assert (second.status, await second.json()) == (202, await first.json())
        if body != ADA | {"id": "ada"}:
            await problem_of(await provisioner.post(CEM, key="k"), 422)


#: Equivalent forms of [ADA, BOB].
EQUIVALENT_BODIES = [
    orjson.dumps([ADA, BOB]),
    b"\xef\xbb\xbf" + orjson.dumps([ADA, BOB], option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS),
    orjson.dumps([{**dict(reversed(ADA.items())), "id": None, "phone": "1"}, {**BOB, "name": " Bob "}]),
    b"name,email,department\nAda,ada@example.com,Sales\nBob,ada@example.com,Sales\n",
    "name\temail\tdepartment\nAda\tada@example.com\tSales\nBob\tada@example.com\tSales\n".encode("utf-16"),
]


@pytest.mark.field(16)
@pytest.mark.parametrize("body", EQUIVALENT_BODIES, ids=["compact", "indented", "other order", "csv", "utf-16"])
async def test_equivalent_bodies_are_accepted_with_the_same_key(body: bytes) -> None:
    topics = SharedTopics()
    async with topics.process() as console:
        first = await console.post([ADA, BOB], key="k")
        second = await console.post(body, key="k", kind="application/json" if body[-1] == ord("]") else "text/csv")
        assert second.status == 202, await second.text()
        assert (await second.json())["ids"] == (await first.json())["ids"]
        assert (first.headers[EXISTING_HEADER], second.headers[EXISTING_HEADER]) == ("0", "2")
    assert len(topics.producer.sent) == 2


@pytest.mark.field(16)
async def test_a_refused_request_leaves_its_key_unused() -> None:
    topics = SharedTopics()
    async with topics.process() as console:
        await problem_of(await console.post([ADA, {"name": ""}], key="k"), 422)
        console.starter.headroom = lambda _count: "it is full"
        await problem_of(await console.post([ADA, CEM], key="k"), 503)
        console.starter.headroom = lambda _count: None
        assert (await console.post([ADA, BOB], key="k")).status == 202


@pytest.mark.field(16, 18)
@pytest.mark.parametrize("key", ["k", None])
async def test_unacknowledged_sagas_are_listed_and_bind_their_key(key: str | None) -> None:
    topics = SharedTopics()
    async with topics.process() as console:
        topics.producer.unacknowledged = [1]
        body = await problem_of(await console.post([ADA, BOB], key=key), 503)
        assert "unknown" in body["detail"]
        assert ("the same Idempotency-Key" in body["detail"]) == (key is not None)
        assert (body["accepted"], len(body["ids"]), len(body["unknown"])) == (1, 1, 1)
        topics.producer.unacknowledged = None
        if key:
            await problem_of(await console.post([ADA, CEM], key=key), 422)
            assert (await (await console.post([ADA, BOB], key=key)).json())["ids"] == body["ids"] + body["unknown"]
        else:
            assert (await console.post(BOB | {"id": body["unknown"][0]})).status == 202


@pytest.mark.field(16)
async def test_a_saga_without_a_stored_key_is_recognised_by_its_user() -> None:
    topics = SharedTopics()
    async with topics.process() as first, topics.process() as second:
        await first.post(ADA, key="k")
        (sent,) = topics.producer.sent
        stripped = {name: value for name, value in orjson.loads(sent.value or b"").items() if name != "idempotency"}
        topics.producer.sent = [sent._replace(value=orjson.dumps(stripped))]
        assert (await second.post(ADA, key="k")).status == 202
        await problem_of(await second.post(BOB, key="k"), 422)


USERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["Ada", "Bob"]), "email": st.just("a@example.com"), "department": st.just("Sales")},
    optional={"id": st.sampled_from(["x", "y"])},
)
BODIES = st.one_of(USERS, st.lists(USERS, min_size=1, max_size=3, unique_by=lambda user: user.get("id") or id(user)))


@pytest.mark.field(16)
@given(BODIES, BODIES)
def test_two_bodies_have_equal_marks_only_if_they_are_equal(one: Any, other: Any) -> None:
    marks = [mark_of("k", from_json(orjson.dumps(body))) for body in (one, other)]
    assert (marks[0] == marks[1]) == (one == other)
    assert key_part(marks[0]) == key_part(marks[1]) != key_part(mark_of("l", from_json(orjson.dumps(one))))


def test_the_longest_mark_is_valid_in_a_message() -> None:
    mark = mark_of("k" * 255, from_csv(b"name,email,department\nA,a@b.example,S\n"))
    message = decode(Message, orjson.dumps({"v": 1, "id": "a", "user": ADA, "idempotency": mark}))
    assert message.idempotency == mark
