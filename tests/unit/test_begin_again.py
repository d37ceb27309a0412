"""A user whose saga was rolled back can begin again, as a saga of its own; the earlier one stays as it ended."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import attempt_id
from saga_app.saga.messages import State, User
from saga_app.web.existing import ExistingSaga
from tests.fakes.starter import ADA, StarterServer, opened
from tests.web_server import problem_of

AGAIN = ADA | {"id": "ada", "again": True}


@pytest.fixture
async def office() -> Any:
    async with opened() as made:
        yield made


def stands(state: State, reason: str | None = None, idempotency: str | None = None) -> ExistingSaga:
    """A saga of Ada that stands so."""
    why = f"{state}: {reason}"
    return ExistingSaga(user=User(**ADA), idempotency=idempotency, state=state, reason=reason, why=why)


def sent(office: StarterServer) -> list[str]:
    """The ids of the sagas that were started."""
    return [(message.key or b"").decode() for message in office.producer.sent]


@pytest.mark.field(28)
@pytest.mark.parametrize("state", ["rolled-back", "rollback-incomplete"])
async def test_the_id_of_a_rolled_back_saga_can_begin_again(
    office: StarterServer, state: State, now: Callable[[str], None]
) -> None:
    office.there["ada"] = stands(state, "the mail was refused")
    refused = await problem_of(await office.post(ADA | {"id": "ada"}), 409)
    assert "the mail was refused" in refused["detail"]
    assert "again" in refused["detail"]
    answer = await office.post(AGAIN)
    assert (answer.status, (await answer.json())["id"], sent(office)) == (202, "ada~2", ["ada~2"])
    now(f"409: {refused['detail']}; with again: {answer.status} {(await answer.json())['id']}")


async def test_each_onboarding_that_was_rolled_back_is_followed_by_the_next(office: StarterServer) -> None:
    office.there |= {"ada": stands("rolled-back"), "ada~2": stands("rolled-back")}
    assert (await (await office.post(AGAIN)).json())["id"] == "ada~3"


@pytest.mark.parametrize("state", ["running", "completed", "parked", "rolling-back"])
async def test_a_saga_that_was_not_rolled_back_cannot_begin_again(office: StarterServer, state: State) -> None:
    office.there |= {"ada": stands("rolled-back"), "ada~2": stands(state)}
    body = await problem_of(await office.post(AGAIN), 409)
    assert body["url"] == "/api/sagas/ada~2"
    assert body["state"] == state
    assert not office.producer.sent


async def test_to_begin_again_twice_with_one_key_starts_one_saga(office: StarterServer) -> None:
    office.there["ada"] = stands("rolled-back")
    first, second = await office.post(AGAIN, key="k"), await office.post(AGAIN, key="k")
    assert await first.json() == await second.json()
    assert sent(office) == ["ada~2"]
    await problem_of(await office.post(AGAIN), 409)


async def test_to_begin_again_without_an_earlier_saga_begins(office: StarterServer) -> None:
    assert (await (await office.post(AGAIN)).json())["id"] == "ada"


async def test_two_entries_that_come_to_one_id_are_refused(office: StarterServer) -> None:
    office.there["ada"] = stands("rolled-back")
    body = await problem_of(await office.post([AGAIN, ADA | {"id": "ada~2"}]), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "id")]
    assert not office.producer.sent


async def test_to_begin_again_needs_an_id_that_has_room_for_a_number(office: StarterServer) -> None:
    body = await problem_of(await office.post(ADA | {"again": True}), 422)
    assert [error["field"] for error in body["errors"]] == ["again"]
    long = "a" * 128
    office.there[long] = stands("rolled-back")
    body = await problem_of(await office.post(AGAIN | {"id": long}), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(0, "id")]


@given(st.text("a~2", min_size=1, max_size=8), st.integers(2, 999_999))
def test_a_numbered_id_is_split_into_its_parts(own_id: str, number: int) -> None:
    own_id, _ = attempt_id.split(f"x{own_id}")
    assert attempt_id.split(attempt_id.numbered(own_id, number)) == (own_id, number)
