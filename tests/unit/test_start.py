"""A new user becomes a saga, or the client is told exactly why not."""

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.messages import User, parse
from saga_app.service import newcomers
from saga_app.service.newcomers import LIST_BYTES, LIST_ENTRIES, ONE_BYTES, Newcomer, Newcomers
from saga_app.service.problem import Problem
from saga_app.service.start import Ids, Starter, id_from_key
from saga_app.stream import NotAcknowledged
from saga_app.stream.sender import Message as Outgoing
from tests.unit.web import post_bytes, problem_of, serving

ADA = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}


class Outbox:
    """A sender that keeps what it is given; `down` are the places of those that the broker does not acknowledge.

    While it is not `open`, it takes what it is `asked` to send and does not answer.
    """

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.down: Sequence[int] | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0

    async def send_all(self, messages: Sequence[Outgoing]) -> None:
        self.asked += 1
        await self.open.wait()
        if self.down is not None:
            failed = list(self.down) or range(len(messages))
            raise NotAcknowledged(failed, len(messages), "timed out")
        self.sent += messages

    @property
    def users(self) -> list[dict[str, Any]]:
        """Who was sent."""
        return [json.loads(message.value or b"")["user"] for message in self.sent]


class Office:
    """The starter behind a web server. `looked_up` are the questions which ids exist."""

    def __init__(self, client: Any, outbox: Outbox, starter: Starter, looked_up: Sequence[Any] = ()) -> None:
        self.client, self.outbox, self.starter, self.looked_up = client, outbox, starter, looked_up

    async def post(self, body: Any, key: str | None = None, kind: str = "application/json", **headers: str) -> Any:
        """A request; what is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": kind, **headers} | ({"Idempotency-Key": key} if key else {})
        return await self.client.post("/users", data=data, headers=named)

    async def at_once(self, *bodies: Any, key: str) -> list[Any]:
        """The answers to several requests with this key, of which none is answered before all have been heard."""
        self.outbox.open.clear()
        posts = [asyncio.create_task(self.post(body, key=key)) for body in bodies]
        async with asyncio.timeout(5):
            while self.heard < len(bodies):
                await asyncio.sleep(0.005)
        self.outbox.open.set()
        return await asyncio.gather(*posts)

    @property
    def heard(self) -> int:
        """Requests that have come as far as to ask which of their ids exist."""
        return len(self.looked_up)


@pytest.fixture
async def office() -> Any:
    """Open, and with room."""
    there = {"taken": User("Bob", "bob@example.com", "Sales")}
    looked_up: list[Sequence[str]] = []

    async def known(ids: Sequence[str]) -> Mapping[str, User]:
        looked_up.append(ids)
        return {id: there[id] for id in ids if id in there}

    outbox = Outbox()
    starter = Starter(outbox, "console", known=known)
    async with serving(lambda app: app.router.add_post("/users", starter.handle)) as client:
        yield Office(client, outbox, starter, looked_up)


async def test_a_user_is_accepted_and_the_request_goes_out_with_its_headers(office: Office) -> None:
    answer = await office.post(ADA)
    body = await answer.json()
    assert answer.status == 202
    assert body == {"id": body["id"], "url": f"/api/sagas/{body['id']}"}
    assert answer.headers["Location"] == body["url"]
    (sent,) = office.outbox.sent
    assert (sent.topic, sent.key) == ("new-user", body["id"].encode())
    message = parse("new-user", sent.value, ())
    assert message.user == User(**ADA)  # type: ignore[union-attr]
    headers = dict(sent.headers or ())
    assert headers["ce_id"].startswith(b"onboarding:" + sent.key)
    assert headers["traceparent"]


async def test_a_given_id_is_used_and_a_second_time_refused(office: Office) -> None:
    assert (await (await office.post(ADA | {"id": "ada.1"})).json())["id"] == "ada.1"
    answer = await office.post(ADA | {"id": "ada.1"})
    body = await problem_of(answer, 409)
    assert body["url"] == answer.headers["Location"] == "/api/sagas/ada.1"
    await problem_of(await office.post(ADA | {"id": "taken"}), 409)
    assert len(office.outbox.sent) == 1


async def test_the_same_idempotency_key_gets_the_same_answer_and_starts_nobody_twice(office: Office) -> None:
    first, second = await office.post(ADA, key="k"), await office.post(ADA, key="k")
    assert first.status == second.status == 202
    assert await first.json() == await second.json()
    assert len(office.outbox.sent) == 1
    other = await office.post(ADA | {"name": "Bob"}, key="k")
    assert "used for another user" in str((await problem_of(other, 422))["errors"])
    assert (await (await office.post(ADA, key="other")).json())["id"] != (await first.json())["id"]


BOB = {"name": "Bob", "email": "bob@example.com", "department": "Sales"}


async def test_an_id_of_somebody_elses_request_exists_whatever_the_key(office: Office) -> None:
    await problem_of(await office.post(BOB | {"id": "taken"}, key="k"), 409)
    body = await problem_of(await office.post([ADA, BOB | {"id": "taken"}], key="k"), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "id")]
    assert not office.outbox.sent
    assert (await office.post(ADA | {"id": "ada"}, key="mine")).status == 202
    await problem_of(await office.post(ADA | {"id": "ada"}, key="another"), 409)
    await problem_of(await office.post(ADA | {"id": "ada"}), 409)
    await problem_of(await office.post(BOB | {"id": "ada"}, key="mine"), 409)
    assert len(office.outbox.sent) == 1


@pytest.mark.parametrize("many", [False, True])
async def test_an_id_of_ones_own_sent_again_with_its_key_gets_the_same_answer(office: Office, many: bool) -> None:
    body = [ADA | {"id": "ada"}, BOB] if many else ADA | {"id": "ada"}
    first, second = await office.post(body, key="k"), await office.post(body, key="k")
    assert (first.status, second.status) == (202, 202)
    assert await first.json() == await second.json()
    assert len(office.outbox.sent) == 1 + many


async def test_an_id_that_arrived_without_an_acknowledgement_is_known_again_by_its_key() -> None:
    arrived: dict[str, User] = {}

    async def known(_ids: Sequence[str]) -> Mapping[str, User]:
        return arrived

    outbox = Outbox()
    starter = Starter(outbox, "cli", known=known)
    asked = Newcomers([Newcomer(**ADA, id="ada")], many=False)
    outbox.down = []
    with pytest.raises(Problem, match="nothing was accepted"):
        await starter.start(asked, "k")
    arrived["ada"], outbox.down = User(**ADA), None
    assert (await starter.start(asked, "k")).ids == ["ada"]
    with pytest.raises(Problem, match="exists already"):
        await starter.start(asked, "other")
    assert not outbox.sent


async def test_who_is_accepted_while_the_same_request_still_looks_for_her_is_sent_once() -> None:
    found = asyncio.Event()

    async def known(_ids: Sequence[str]) -> Mapping[str, User]:
        if len(slow) < 1:
            slow.append(1)
            await found.wait()
        return {}

    slow: list[int] = []
    outbox = Outbox()
    starter = Starter(outbox, "cli", known=known)
    asked = Newcomers([Newcomer(**ADA)], many=False)
    first = asyncio.create_task(starter.start(asked, "k"))
    await asyncio.sleep(0)
    second = await starter.start(asked, "k")
    found.set()
    assert await first == second
    assert len(outbox.sent) == 1


@pytest.mark.parametrize("many", [False, True])
async def test_of_two_bodies_with_one_key_at_the_same_time_one_is_accepted(office: Office, many: bool) -> None:
    bodies = [[ADA, ADA], [ADA, BOB]] if many else [ADA, BOB]
    answers = sorted(await office.at_once(*bodies, key="k"), key=lambda answer: int(answer.status))
    assert answers[0].status == 202
    assert "under way or was used for another user" in (await problem_of(answers[1], 409))["detail"]
    assert len(office.outbox.sent) == 1 + many


@pytest.mark.parametrize("body", [ADA, [ADA, BOB], ADA | {"id": "ada"}], ids=["one", "list", "own id"])
async def test_the_same_request_three_times_at_once_is_sent_once_and_answered_after_it_is_there(
    office: Office, body: Any
) -> None:
    answers = await office.at_once(body, body, body, key="k")
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert len({await answer.text() for answer in answers}) == 1
    assert office.outbox.asked == 1


async def test_who_waits_for_the_same_request_is_told_when_it_fails(office: Office) -> None:
    office.outbox.down = []
    answers = await office.at_once(ADA, ADA, key="k")
    for answer in answers:
        assert "nothing was accepted" in (await problem_of(answer, 503))["detail"]
    assert office.outbox.asked == 1
    office.outbox.down = None
    assert (await office.post(ADA, key="k")).status == 202


async def test_a_request_that_is_broken_off_leaves_nobody_waiting() -> None:
    outbox = Outbox()
    outbox.open.clear()
    starter = Starter(outbox, "cli")
    asked = Newcomers([Newcomer(**ADA)], many=False)
    first, second = (asyncio.create_task(starter.start(asked, "k")) for _ in range(2))
    async with asyncio.timeout(5):
        while not starter.under_way:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(Problem, match="got no answer"):
            await second
        outbox.open.set()
        assert (await starter.start(asked, "k")).ids == [id_from_key("k", 0)]


async def test_who_stops_waiting_does_not_end_the_request_of_the_others() -> None:
    outbox = Outbox()
    outbox.open.clear()
    starter = Starter(outbox, "cli")
    asked = Newcomers([Newcomer(**ADA)], many=False)
    first, second, third = (asyncio.create_task(starter.start(asked, "k")) for _ in range(3))
    async with asyncio.timeout(5):
        while not starter.under_way:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        outbox.open.set()
        assert await first == await third
    assert len(outbox.sent) == 1


@pytest.mark.parametrize("key", ["tab\there", "x" * 256, ""])
async def test_an_idempotency_key_is_printable(office: Office, key: str) -> None:
    answer = await office.post(ADA, **{"Idempotency-Key": key})
    assert "printable ASCII" in (await problem_of(answer, 400))["detail"]
    assert not office.outbox.sent


@pytest.mark.parametrize("key", [b"\xe4", "ä".encode()])
async def test_an_idempotency_key_is_ascii(office: Office, key: bytes) -> None:
    answer = await post_bytes(office.client, "/users", ADA, {"Idempotency-Key": key})
    assert "printable ASCII" in (await problem_of(answer, 400))["detail"]
    assert not office.outbox.sent


async def test_the_url_of_an_id_with_letters_of_any_language_can_be_asked_for(office: Office) -> None:
    answer = await office.post(ADA | {"id": "zoë:1"})
    assert await answer.json() == {"id": "zoë:1", "url": "/api/sagas/zo%C3%AB:1"}
    assert answer.headers["Location"] == "/api/sagas/zo%C3%AB:1"
    again = await office.post(ADA | {"id": "zoë:1"})
    assert (await problem_of(again, 409))["url"] == again.headers["Location"] == "/api/sagas/zo%C3%AB:1"


async def test_a_list_that_was_acknowledged_in_part_is_completed_by_sending_it_again(office: Office) -> None:
    crowd = [ADA | {"name": f"Ada {number}"} for number in range(4)]
    office.outbox.down = [1, 3]
    body = await problem_of(await office.post(crowd, key="list"), 503)
    assert body["accepted"] == 2
    office.outbox.down = None
    answer = await (await office.post(crowd, key="list")).json()
    assert answer["accepted"] == 4
    assert [user["name"] for user in office.outbox.users] == ["Ada 1", "Ada 3"]
    assert body["ids"] == [answer["ids"][0], answer["ids"][2]]


async def test_when_the_broker_is_away_the_client_is_told_that_nothing_was_accepted(office: Office) -> None:
    office.outbox.down = []
    answer = await office.post(ADA)
    assert "nothing was accepted" in (await problem_of(answer, 503))["detail"]
    assert answer.headers["Retry-After"]
    office.outbox.down = None
    assert (await office.post(ADA | {"id": "again"})).status == 202


async def test_an_id_that_the_broker_did_not_acknowledge_is_free_again(office: Office) -> None:
    office.outbox.down = []
    await problem_of(await office.post(ADA | {"id": "ada"}), 503)
    office.outbox.down = None
    assert (await office.post(ADA | {"id": "ada"})).status == 202


async def test_where_there_is_no_room_nothing_is_sent() -> None:
    outbox = Outbox()
    starter = Starter(outbox, "console", room=lambda count: "it is full" if count > 1 else None)
    async with serving(lambda app: app.router.add_post("/users", starter.handle)) as client:
        office = Office(client, outbox, starter)
        assert (await office.post([ADA])).status == 202
        assert "it is full" in (await problem_of(await office.post([ADA, ADA]), 503))["detail"]
        assert len(outbox.sent) == 1


async def test_a_list_in_json_is_accepted_in_its_order(office: Office) -> None:
    crowd = [ADA | {"name": f"Ada {number}"} for number in range(100)]
    answer = await office.post(crowd)
    body = await answer.json()
    assert (answer.status, body["accepted"], len(set(body["ids"]))) == (202, 100, 100)
    assert body["ids"] == sorted(body["ids"]) == [(message.key or b"").decode() for message in office.outbox.sent]
    assert [user["name"] for user in office.outbox.users] == [entry["name"] for entry in crowd]


CSVS = {
    "plain": b"name,email,department\nAda,ada@example.com,Sales\n",
    "byte order mark and CRLF": b"\xef\xbb\xbfname,email,department\r\nAda,ada@example.com,Sales\r\n",
    "quoted": b'"name","email","department"\n"Ada","ada@example.com","Sales"\n',
    "another order, more columns, blank lines": b"\nid,department,phone,Email,NAME\n\n,Sales,1,ada@example.com,Ada\n\n",
    "semicolons": b"name;email;department\nAda;ada@example.com;Sales",
    "spaces": b"name, email, department\n Ada , ada@example.com , Sales ",
}


@pytest.mark.parametrize("text", CSVS.values(), ids=CSVS.keys())
async def test_csv_as_programs_write_it_is_understood(office: Office, text: bytes) -> None:
    answer = await office.post(text, kind="text/csv; charset=utf-8")
    assert (await answer.json())["accepted"] == 1
    assert office.outbox.users == [ADA]


async def test_a_quoted_comma_and_a_doubled_quote_belong_to_the_name(office: Office) -> None:
    await office.post(b'name,email,department,id\n"Lovelace, ""Ada""",ada@example.com,Sales,a1\n', kind="text/csv")
    assert office.outbox.users[0]["name"] == 'Lovelace, "Ada"'
    assert office.outbox.sent[0].key == b"a1"


async def test_every_bad_entry_is_named_by_index_and_field_and_nothing_is_sent(office: Office) -> None:
    bad = [
        ADA,
        {"name": "", "email": "no address", "department": "x" * 101},
        {"email": "a@b"},
        "Ada",
        ADA | {"id": "no spaces please"},
        ADA | {"name": "two\nlines"},
        ADA | {"name": 7},
    ]
    body = await problem_of(await office.post(bad), 422)
    named = {(error["index"], error["field"]) for error in body["errors"]}
    assert named == {
        (1, "name"),
        (1, "email"),
        (1, "department"),
        (2, "name"),
        (2, "department"),
        (3, None),
        (4, "id"),
        (5, "name"),
        (6, "name"),
    }
    assert "nothing was sent" in body["detail"]
    assert not office.outbox.sent


async def test_ids_that_are_twice_in_a_list_or_exist_are_named(office: Office) -> None:
    body = await problem_of(await office.post([ADA | {"id": "x"}, ADA | {"id": "y"}, ADA | {"id": "x"}]), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(2, "id")]
    body = await problem_of(await office.post([ADA, ADA | {"id": "taken"}]), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "id")]


async def test_a_csv_with_a_wrong_line_names_it(office: Office) -> None:
    body = await problem_of(
        await office.post(b"name,email,department\nAda,a@b,Sales\nBob,b@c\nCem,nobody,Sales\n", kind="text/csv"), 422
    )
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, None), (2, "email")]


@pytest.mark.parametrize(
    "text", [b"", b"\n\n", b"name,email\nAda,a@b\n", b"name,email,department,name\n", b"name,email,department\n"]
)
async def test_a_csv_without_users_or_with_a_wrong_header_is_refused(office: Office, text: bytes) -> None:
    assert (await problem_of(await office.post(text, kind="text/csv"), 422))["errors"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"name,email,department\n\xff,\xfe,x\n", "text/csv", 400),
        (b'name,email,department\n"Ada,a@b,Sales\n', "text/csv", 400),
        (b"7", "application/json", 422),
        (b"null", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"[[]]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"name=Ada", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json; charset=latin-1", 415),
        (b'{"name": "' + b"x" * ONE_BYTES + b'"}', "application/json", 413),
        (b"[" + b" " * LIST_BYTES + b"]", "application/json", 413),
        (b"[" + b"{}," * LIST_ENTRIES + b"{}]", "application/json", 413),
    ],
)
async def test_every_bad_body_gets_its_problem(office: Office, body: bytes, kind: str, status: int) -> None:
    await problem_of(await office.post(body, kind=kind), status)
    assert not office.outbox.sent


async def test_a_body_that_unpacks_to_too_much_is_refused(office: Office) -> None:
    packed = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    answer = await office.post(packed, **{"Content-Encoding": "gzip"})
    await problem_of(answer, 413)


@pytest.mark.parametrize("size", [1, 50_000])
async def test_a_body_that_is_not_packed_as_it_says_is_refused(
    office: Office, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await office.post(json.dumps(ADA).encode() * size, **{"Content-Encoding": "gzip"})
    assert "gzip" in (await problem_of(answer, 400))["detail"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_packed_body_is_understood(office: Office) -> None:
    packed = gzip.compress(json.dumps(ADA).encode())
    assert (await office.post(packed, **{"Content-Encoding": "gzip"})).status == 202


async def test_a_packing_that_is_not_known_is_named_with_those_that_are(office: Office) -> None:
    answer = await office.post(ADA, **{"Content-Encoding": "snappy"})
    assert "snappy" in (await problem_of(answer, 415))["detail"]
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"


LOOKS_LIKE_ANOTHER = ["\u202a", "\u202e", "\u2066", "\u2069", "\u2028", "\u2029", "\x85", "\x7f", "\n"]


@pytest.mark.parametrize("letter", LOOKS_LIKE_ANOTHER, ids=ascii)
@pytest.mark.parametrize("field", ["name", "department"])
async def test_a_name_is_one_line_that_reads_as_it_is_written(office: Office, field: str, letter: str) -> None:
    body = await problem_of(await office.post(ADA | {field: f"A{letter}da"}), 422)
    assert body["errors"][0]["field"] == field
    assert "control character" in body["errors"][0]["message"]


async def test_names_of_all_languages_are_names(office: Office) -> None:
    for name in ("Zoë", "עדה", "阿达", "علی\u200cرضا", "👩\u200d💻"):
        assert (await office.post(ADA | {"name": name})).status == 202


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(office: Office) -> None:
    async def endless() -> Any:
        for _ in range(30):
            yield b" " * 1_000_000

    answer = await office.client.post("/users", data=endless(), headers={"Content-Type": "application/json"})
    await problem_of(answer, 413)


@given(st.binary(max_size=300), st.sampled_from([newcomers.from_json, newcomers.from_csv]))
def test_no_body_whatever_is_a_bug(body: bytes, read: Callable[[bytes], object]) -> None:
    statuses = []
    try:
        read(body)
    except Problem as problem:
        statuses.append(problem.status)
    assert set(statuses) <= {400, 413, 422}


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
    outbox = Outbox()
    started = await Starter(outbox, "cli").start(Newcomers([Newcomer(**ADA)], many=False))
    assert started.answer("/sagas/{}").headers["Location"] == f"/sagas/{started.ids[0]}"
    assert len(outbox.sent) == 1
