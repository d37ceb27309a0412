"""Encodes and decodes the records of all topics and tables.

An invalid record raises `BadMessage` with a sentence for the operator who finds it in the `dlq`.
"""

from typing import Any, TypeVar

import msgspec

from saga_app.saga import cloudevents, json_text
from saga_app.saga.identifier import ID_RULE, is_id
from saga_app.saga.json_text import NotJson, WrongShape
from saga_app.saga.messages import (
    CONTENT_TYPE,
    DEAD_LETTER,
    DLQ,
    SIGNALS,
    VERSION,
    Body,
    DeadLetter,
    Effects,
    Message,
    Parked,
    Row,
    Signal,
    WireRecord,
)
from saga_app.saga.record import Headers
from saga_app.saga.states import State

T = TypeVar("T", Message, Row, Signal, Effects, DeadLetter)

_KINDS = (Message, Row, Signal, Effects, DeadLetter)
_DECODERS: dict[type, Any] = {kind: msgspec.json.Decoder(kind).decode for kind in _KINDS}


class BadMessage(ValueError):
    """The record is not a valid message; the text says what is wrong."""


#: Encodes a record as JSON in UTF-8.
encode = json_text.dumps

#: A copy of a record with some fields changed.
replace_fields = msgspec.structs.replace


def decode(kind: type[T], value: bytes | None) -> T:
    """Decode and validate a record of this kind. Raises `BadMessage`."""
    record: T = _decoded(_DECODERS[kind], value)
    if kind is not DeadLetter and not is_id(record.id or ""):
        raise BadMessage(f"id: {ID_RULE}")
    return record


def _decoded(decoder: Any, value: bytes | None) -> Any:
    if value is None:
        raise BadMessage("the record has no value (null)")
    try:
        return json_text.decode_with(decoder, value)
    except NotJson as error:
        raise BadMessage(f"not JSON: {error}") from None
    except WrongShape as error:
        if error.field == "v" and error.problem == "is not one of the allowed values":
            raise BadMessage(f"unknown version: this service supports v {VERSION}") from None
        raise BadMessage(str(error)) from None


class _StateOnly(WireRecord):
    """The part of a row that tells whether its saga has ended."""

    state: State


_state_decoder = msgspec.json.Decoder(_StateOnly).decode


def state_of(value: bytes) -> State:
    """The state in an encoded row. Decoding nothing else takes a fraction of the time. Raises `BadMessage`."""
    found: _StateOnly = _decoded(_state_decoder, value)
    return found.state


def decode_request(value: bytes | None, headers: Headers) -> Message:
    """Decode a request: plain JSON, or a CloudEvent in structured mode with the request as its data.

    A value that is a valid request is accepted with any content type, because some client libraries set a wrong one.
    Raises `BadMessage`.
    """
    try:
        return decode(Message, value)
    except BadMessage as error:
        return _decode_event(value, cloudevents.content_type(headers), error)


def _decode_event(value: bytes | None, kind: str | None, problem: BadMessage) -> Message:
    """Decode a value that is not a plain request, because of `problem`: a CloudEvent, if its content type says so."""
    if kind is None and cloudevents.is_event(value):
        raise BadMessage(f"{CONTENT_TYPE}: missing; this CloudEvent needs {cloudevents.STRUCTURED}")
    if kind is None or cloudevents.is_json(kind):
        raise problem
    try:
        data = cloudevents.request_in(kind, value)
    except cloudevents.NotReadable as error:
        raise BadMessage(f"{CONTENT_TYPE}: {error}") from None
    if data is not value:
        return decode(Message, data)
    raise BadMessage(f"{CONTENT_TYPE}: {ascii(kind)[1:-1][:60]} is not supported; send {cloudevents.JSON}: {problem}")


def saga_id(value: bytes | None, key: bytes | None) -> str | None:
    """The saga id of an unreadable record: the `id` of its JSON object if valid, else its key if valid, else None."""
    try:
        found = json_text.loads(value or b"")
    except NotJson:
        found = None
    if isinstance(found, dict) and "specversion" in found:  # the id of a CloudEvent is not the saga id
        found = found.get("data")
    return (_valid_id(found.get("id")) if isinstance(found, dict) else None) or _valid_id(key)


def _valid_id(given: Any) -> str | None:
    try:
        text = given.decode() if isinstance(given, bytes) else given
    except UnicodeDecodeError:
        return None
    return text if isinstance(text, str) and is_id(text) else None


def parse(topic: str, value: bytes | None, headers: Headers, rows_topic: str | None = None) -> Body:
    """Decode a record of any topic of the plan; `rows_topic` is the changelog of the saga rows. Raises `BadMessage`."""
    if topic == DLQ:
        return _parked(value, headers)
    if topic == SIGNALS:
        return decode(Signal, value)
    return decode(Row, value) if topic == rows_topic else decode_request(value, headers)


def _parked(value: bytes | None, headers: Headers) -> Parked:
    letter = decode(DeadLetter, dict(headers).get(DEAD_LETTER))
    if not letter.id:
        return Parked(letter, None, value)
    try:
        message = decode_request(value, headers)
    except BadMessage:
        return Parked(letter, None, value)
    return Parked(letter, replace_fields(message, user=message.user.cleaned()), value)  # it may be a client's request
