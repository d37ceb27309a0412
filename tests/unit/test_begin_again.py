"""Repeated onboarding: after a rollback a user can begin again, as a separate saga with a numbered id."""

from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import attempt_id
from saga_app.saga.messages import User
from saga_app.saga.states import State
from saga_app.web.existing import ExistingSaga
from tests.fakes.starter import ADA, StarterServer, running_starter
from tests.web_server import problem_of

#: A request to begin again.
REPEAT_REQUEST = ADA | {"id": "ada", "again": True}


@pytest.fixture
async def server() -> AsyncIterator[StarterServer]:
    """A running server that starts sagas."""
    async with running_starter() as running:
        yield running


def adas_saga(state: State, reason: str | None = None) -> ExistingSaga:
    """An existing saga of Ada in this state."""
    return ExistingSaga(user=User(**ADA), state=state, reason=reason, why=f"{state}: {reason}")


def started_ids(server: StarterServer) -> list[str]:
    """The ids of the sagas that were started."""
    return [(message.key or b"").decode() for message in server.producer.sent]


@pytest.mark.field(28)
@pytest.mark.parametrize("state", ["rolled-back", "rollback-incomplete"])
async def test_the_id_of_a_rolled_back_saga_can_be_used_to_begin_again(
    server: StarterServer, state: State, now: Callable[[str], None]
) -> None:
    server.existing["ada"] = adas_saga(state, "the mail was refused")
    problem = await problem_of(await server.post(ADA | {"id": "ada"}), 409)
    assert "the mail was refused" in problem["detail"]
    assert "again" in problem["detail"]
    response = await server.post(REPEAT_REQUEST)
    assert (response.status, (await response.json())["id"], started_ids(server)) == (202, "ada~2", ["ada~2"])
    now(f"409: {problem['detail']}; with again: {response.status} {(await response.json())['id']}")


async def test_each_further_onboarding_gets_the_next_number(server: StarterServer) -> None:
    server.existing |= {"ada": adas_saga("rolled-back"), "ada~2": adas_saga("rolled-back")}
    assert (await (await server.post(REPEAT_REQUEST)).json())["id"] == "ada~3"


@pytest.mark.parametrize("state", ["running", "completed", "parked", "rolling-back"])
async def test_a_saga_that_was_not_rolled_back_cannot_begin_again(server: StarterServer, state: State) -> None:
    server.existing |= {"ada": adas_saga("rolled-back"), "ada~2": adas_saga(state)}
    body = await problem_of(await server.post(REPEAT_REQUEST), 409)
    assert body["url"] == "/api/sagas/ada~2"
    assert body["state"] == state
    assert not server.producer.sent


async def test_two_requests_to_begin_again_with_one_key_start_one_saga(server: StarterServer) -> None:
    server.existing["ada"] = adas_saga("rolled-back")
    first, second = await server.post(REPEAT_REQUEST, key="k"), await server.post(REPEAT_REQUEST, key="k")
    assert await first.json() == await second.json()
    assert started_ids(server) == ["ada~2"]
    await problem_of(await server.post(REPEAT_REQUEST), 409)


async def test_beginning_again_without_an_earlier_saga_uses_the_plain_id(server: StarterServer) -> None:
    assert (await (await server.post(REPEAT_REQUEST)).json())["id"] == "ada"


async def test_two_entries_that_lead_to_the_same_id_are_refused(server: StarterServer) -> None:
    server.existing["ada"] = adas_saga("rolled-back")
    body = await problem_of(await server.post([REPEAT_REQUEST, ADA | {"id": "ada~2"}]), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "id")]
    assert not server.producer.sent


async def test_beginning_again_needs_an_id_with_room_for_a_number(server: StarterServer) -> None:
    body = await problem_of(await server.post(ADA | {"again": True}), 422)
    assert [error["field"] for error in body["errors"]] == ["again"]
    long = "a" * 128
    server.existing[long] = adas_saga("rolled-back")
    body = await problem_of(await server.post(REPEAT_REQUEST | {"id": long}), 422)
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(0, "id")]


@given(st.text("a~2", min_size=1, max_size=8), st.integers(2, 999_999))
def test_splitting_an_id_is_the_inverse_of_numbering_it(own_id: str, number: int) -> None:
    own_id, _ = attempt_id.split(f"x{own_id}")
    assert attempt_id.split(attempt_id.with_number(own_id, number)) == (own_id, number)
