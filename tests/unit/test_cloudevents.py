"""CloudEvents: the SDK reads our messages; events of clients in structured mode are read, or refused with a reason."""

import base64
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.codec import BadMessage, decode, decode_request, saga_id
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Message
from saga_app.service.headers import headers_for
from tests.builders import at, journey
from tests.unit.step_harness import NEW_USER_REQUEST, FakeMail, handle_record, value_on

pytestmark = pytest.mark.field(5)

STRUCTURED = "application/cloudevents+json"
REQUEST = orjson.loads(NEW_USER_REQUEST)


def envelope(**changes: Any) -> dict[str, Any]:
    """A structured-mode event with Ada's request. `changes` replace attributes; None removes one."""
    event = {"specversion": "1.0", "id": "e1", "source": "/hr", "type": "hired", "data": REQUEST} | changes
    return {name: value for name, value in event.items() if value is not None}


def read(value: bytes | None, content_type: str | bytes | None) -> Message:
    """Decode a request with this header as a service does."""
    encoded = content_type.encode() if isinstance(content_type, str) else content_type
    return decode_request(value, [] if encoded is None else [("content-type", encoded)])


def data_of(event: BaseCloudEvent) -> dict[str, Any]:
    """The data of an event, which must be a JSON object."""
    data = event.get_data()
    assert isinstance(data, dict)
    return data


def test_the_sdk_reads_every_message_of_a_saga() -> None:
    for stop in journey():
        if isinstance(stop, tuple):
            topic, message = stop
            headers = dict(headers_for(message, topic, "provisioner", at(0)))
            event = from_kafka_event(KafkaMessage(headers=headers, key=b"ada", value=value_on(topic)))
            assert (event.get_type(), event.get_datacontenttype()) == (f"onboarding.{topic}", "application/json")
            assert data_of(event)["user"]["name"] == message.user.name


def test_the_sdk_reads_signals() -> None:
    sent, _ = handle_record("notify", value_on("notify"), mail=FakeMail(failures=1))
    [(key, value, headers)] = [message[1:] for message in sent.messages if message[0] == SIGNALS]
    event = from_kafka_event(KafkaMessage(headers=dict(headers), key=key, value=value or b""))
    assert (event.get_type(), event.get_source()) == ("onboarding.signal.failed", "/notifier")
    assert data_of(event)["reason"] == "timed out"


@pytest.mark.parametrize(
    "content_type",
    [
        STRUCTURED,
        f"{STRUCTURED}; charset=utf-8",
        f'{STRUCTURED};charset="UTF-8"',
        STRUCTURED.upper(),
        f"{STRUCTURED} ; profile=x",
    ],
)
def test_the_data_of_a_structured_event_is_the_request(content_type: str, now: Callable[[str], None]) -> None:
    assert read(orjson.dumps(envelope()), content_type) == decode(Message, NEW_USER_REQUEST)
    assert read(orjson.dumps(envelope(datacontenttype="application/json; charset=utf-8")), content_type).id == "ada"
    with_base64 = envelope(data=None, data_base64=base64.b64encode(NEW_USER_REQUEST).decode())
    assert read(orjson.dumps(with_base64), content_type) == decode(Message, NEW_USER_REQUEST)
    now("structured mode is read, batches are refused with a reason")


def test_an_event_written_by_the_sdk_begins_a_saga() -> None:
    attributes = {"specversion": "1.0", "id": "e1", "source": "/hr", "type": "hired"}
    written = to_structured_event(CloudEvent(attributes, REQUEST))
    sent, table = handle_record("new-user", written.value, headers=list(written.headers.items()))
    assert sent.topics == ["authorize"]
    assert table.row("ada").user.name == "Ada"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json;charset=utf-8",
        "application/vnd.hr+json",
        "text/plain",
        STRUCTURED,
        "application/cloudevents-batch+json",
        "\xff",
    ],
)
def test_a_request_is_read_with_other_content_types(content_type: str | None) -> None:
    assert read(NEW_USER_REQUEST, None if content_type is None else content_type.encode("latin-1")).id == "ada"


@pytest.mark.parametrize(
    ("value", "content_type", "reason"),
    [
        (orjson.dumps([envelope()]), "application/cloudevents-batch+json", "application/cloudevents-batch+json"),
        (b"\x00", "application/cloudevents+avro", "application/cloudevents+avro"),
        (b"\x00", "application/cloudevents", "application/cloudevents is not supported"),
        (b"<user/>", "application/xml", "application/xml"),
        (b"name,email\n", "text/csv", "text/csv"),
        (b"\x00\x00", "application/\x1b[2J", r"application/\x1b[2J"),
        (NEW_USER_REQUEST.decode().encode("utf-16"), f"{STRUCTURED}; charset=utf-16", "charset utf-16"),
        (b"not JSON", STRUCTURED, "not JSON"),
        (b"[]", STRUCTURED, "not a JSON object"),
        (None, STRUCTURED, "not JSON"),
        (orjson.dumps(envelope(specversion="0.3")), STRUCTURED, "specversion 0.3"),
        (orjson.dumps(envelope(id=None)), STRUCTURED, "lacks id"),
        (orjson.dumps(envelope(type="", source=7)), STRUCTURED, "lacks source, type"),
        (orjson.dumps(envelope(data=None)), STRUCTURED, "either data or data_base64"),
        (orjson.dumps(envelope(data_base64="e30=")), STRUCTURED, "either data or data_base64"),
        (orjson.dumps(envelope(data=None, data_base64="%")), STRUCTURED, "not base64"),
        (orjson.dumps(envelope(data=None, data_base64=7)), STRUCTURED, "not base64"),
        (orjson.dumps(envelope(datacontenttype="text/csv")), STRUCTURED, "datacontenttype text/csv"),
        (orjson.dumps(envelope(datacontenttype=7)), STRUCTURED, "datacontenttype"),
        (orjson.dumps(envelope(data={"v": 1})), STRUCTURED, "id: is missing"),
        (orjson.dumps(envelope()), None, f"this CloudEvent needs {STRUCTURED}"),
        (orjson.dumps(envelope()), "application/json", "v: is missing"),
    ],
)
def test_an_unsupported_event_is_refused_with_a_reason(
    value: bytes | None, content_type: str | None, reason: str
) -> None:
    with pytest.raises(BadMessage) as error:
        read(value, content_type)
    assert reason in str(error.value)
    assert "Ada" not in str(error.value)


def test_a_refused_event_is_a_dead_letter_with_the_id_of_its_saga() -> None:
    value = orjson.dumps(envelope(data=REQUEST | {"user": {}}))
    sent, _ = handle_record("new-user", value, key=None, headers=[("content-type", STRUCTURED.encode())])
    [(topic, key, kept, headers)] = sent.messages
    assert (topic, key, kept) == (DLQ, b"ada", value)
    assert decode(DeadLetter, dict(headers)[DEAD_LETTER]).id == "ada"
    assert dict(headers)["content-type"] == STRUCTURED.encode()


def test_the_id_of_an_event_is_not_the_id_of_its_saga() -> None:
    assert saga_id(orjson.dumps(envelope(data=7)), b"key") == "key"
    assert saga_id(orjson.dumps(envelope(data=7)), None) is None


@given(
    st.binary(), st.lists(st.tuples(st.sampled_from(["content-type", "Content-Type", "x"]), st.binary() | st.none()))
)
def test_any_record_is_read_or_raises_bad_message(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    """Also with null as the value of a header, which Kafka allows but the type does not express."""
    with suppress(BadMessage):
        decode_request(value, headers)
