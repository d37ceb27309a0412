"""Encoding and decoding of all records, and the reasons for which invalid ones are rejected."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import decisions, saga_row
from saga_app.saga.codec import BadMessage, decode, encode, parse
from saga_app.saga.messages import DeadLetter, Message, Parked, Row, Signal, User
from saga_app.saga.onboarding import ONBOARDING
from tests.builders import ADA, NO, Stop, at, journey

REQUEST = b'{"v":1,"id":"ada","user":{"name":"Ada","email":"ada@example.com","department":"Sales"}}'


def test_a_request_needs_only_version_id_and_user() -> None:
    message = decode(Message, REQUEST)
    assert (message.id, message.user.department, message.slip) == ("ada", "Sales", None)


def test_unknown_fields_are_ignored() -> None:
    assert decode(Message, REQUEST[:-1] + b',"mood":"good"}').id == "ada"


@pytest.mark.parametrize("path", [journey(), journey({"notify": NO})])
def test_every_message_and_row_of_a_saga_is_decoded_to_itself(path: list[Stop]) -> None:
    for stop in path:
        if isinstance(stop, decisions.End):
            row = saga_row.row_ended(stop, at(9))
            assert decode(Row, encode(row)) == row
        else:
            assert decode(Message, encode(stop[1])) == stop[1]
            row = saga_row.row_waiting_for(ONBOARDING, *stop, at(1))
            row.origin = (3, 4)
            assert decode(Row, encode(row)) == row


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "object"),
        (b"{}", "v: is missing"),
        (b'{"v":2,"id":"ada","user":{"name":"A","email":"a@b","department":"S"}}', "unknown version"),
        (REQUEST.replace(b'"ada"', b"7"), "id: is not a string"),
        (REQUEST.replace(b'"ada"', b'".."'), "id: may only have"),
        (REQUEST[:-1] + b',"attempt":100000000000000000000}', "attempt: expected int <= "),
        (REQUEST.replace(b'"ada"', b'"a b"'), "id: may only have"),
        (REQUEST.replace(b'"Ada"', b'""'), "user.name: is empty"),
        (REQUEST.replace(b'"Ada"', b"null"), "user.name: is not a string"),
        (REQUEST[:-1] + b',"slip":{"ahead":"x","back":[]}}', "slip.ahead: is not an array"),
        (REQUEST[:-1] + b',"started_at":"9999-99-99T99:99:99Z"}', "started_at: is not a time"),
        (REQUEST[:-1] + ',"started_at":"2026-01-0١T00:00:00Z"}'.encode(), "started_at: is not a time"),
        (REQUEST[:-1] + b',"started_at":"2026-02-30T00:00:00Z"}', "started_at: is not a time"),
        (REQUEST[:-1] + b',"started_at":"2026-02-03T00:00:00"}', "started_at: is a time without a time zone"),
        (REQUEST[:-1] + b',"facts":{"x":1e999}}', r"facts\[...\]: number out of range"),
        (b"[" * 100_000 + b"]" * 100_000, "message: is not an object"),
        (
            REQUEST[:-1] + b',"facts":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
            "not JSON: it is nested too deeply",
        ),
        (b"x" * 1_000_000, "not JSON"),
    ],
)
def test_an_invalid_message_is_rejected_with_a_reason(value: bytes | None, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        decode(Message, value)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["v", "id", "user", "slip", "x"]), inner),
    ).map(
        lambda value: (
            orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_SUBCLASS) if not _is_unencodable(value) else b"1"
        )
    )
)
def test_any_bytes_are_decoded_or_raise_bad_message(value: bytes) -> None:
    try:
        message = decode(Message, value)
    except BadMessage as error:
        assert str(error)  # noqa: PT017
    else:
        assert encode(message), "the decoded message could not be encoded"


def _is_unencodable(value: object) -> bool:
    """Whether orjson cannot encode the value, because of integers over 64 bits or surrogates."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def test_the_reason_never_contains_values_of_the_message() -> None:
    visit = b'{"step":"s","service":"s","attempts":1,"outcome":"secret"}'
    for value in (REQUEST.replace(b'"ada"', b'"secret place"'), REQUEST[:-1] + b',"history":[' + visit + b"]}"):
        with pytest.raises(BadMessage) as caught:
            decode(Message, value)
        assert "secret" not in str(caught.value)


def test_a_dead_letter_holds_the_original_and_its_message_if_readable() -> None:
    letter = DeadLetter(
        v=1,
        topic="new-user",
        partition=2,
        offset=7,
        service="provisioner",
        step="provision",
        error="BadMessage",
        reason="not JSON",
        attempts=1,
        received_at=at(0),
        at=at(1),
    )
    body = parse("dlq", b"garbage", [("dead-letter", encode(letter))])
    assert body == Parked(letter, None, b"garbage")
    letter.id = "ada"
    body = parse("dlq", REQUEST, [("dead-letter", encode(letter))])
    assert isinstance(body, Parked)
    assert body.message is not None
    assert body.message.user.name == "Ada"


def test_the_user_in_a_dead_letter_is_normalised() -> None:
    letter = DeadLetter(
        v=1,
        topic="new-user",
        partition=2,
        offset=7,
        service="provisioner",
        step="provision",
        error="Permanent",
        reason="out of stock",
        attempts=1,
        received_at=at(0),
        at=at(1),
        id="ada",
    )
    value = REQUEST.replace(b'"Ada"', b'" Ada "').replace(b'"Sales"', '"\uff33ales "'.encode())
    body = parse("dlq", value, [("dead-letter", encode(letter))])
    assert isinstance(body, Parked)
    assert body.message is not None
    assert body.message.user == User("Ada", "ada@example.com", "Sales")


def test_a_record_on_dlq_without_a_dead_letter_header_is_rejected() -> None:
    with pytest.raises(BadMessage):
        parse("dlq", b"garbage", [])


def test_a_signal_is_decoded_to_itself() -> None:
    signal = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="failed",
        step="authorize",
        service="authorizer",
        at=at(1),
        attempt=2,
        attempts=5,
        next_at=at(9),
        reason="timed out",
    )
    assert parse("saga-signals", encode(signal), []) == signal


def test_the_idempotency_key_consists_of_saga_id_and_step() -> None:
    assert Message(v=1, id="ada", user=ADA).key("notify") == "onboarding:ada:notify"
