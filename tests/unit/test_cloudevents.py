"""CloudEvents: ours are read by the SDK; a client's in structured mode are read, or refused by name."""

import base64
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.messages import (
    DEAD_LETTER,
    DLQ,
    SIGNALS,
    BadMessage,
    DeadLetter,
    Message,
    decode,
    decode_request,
    saga_id,
)
from saga_app.service.headers import headers_for
from tests.builders import at, journey
from tests.unit.test_step import ASKED, Mail, handle, on

pytestmark = pytest.mark.field(5)

STRUCTURED = "application/cloudevents+json"
REQUEST = orjson.loads(ASKED)


def envelope(**changes: Any) -> dict[str, Any]:
    """A structured event with Ada's request; a change to None leaves the attribute out."""
    event = {"specversion": "1.0", "id": "e1", "source": "/hr", "type": "hired", "data": REQUEST} | changes
    return {name: value for name, value in event.items() if value is not None}


def read(value: bytes | None, kind: str | bytes | None, name: str = "content-type") -> Message:
    """As a service reads it."""
    encoded = kind.encode() if isinstance(kind, str) else kind
    return decode_request(value, [] if encoded is None else [(name, encoded)])


def test_the_sdk_reads_every_message_of_a_saga() -> None:
    for stop in journey():
        if isinstance(stop, tuple):
            topic, message = stop
            headers = dict(headers_for(message, topic, "provisioner", at(0)))
            event = from_kafka_event(KafkaMessage(headers=headers, key=b"ada", value=on(topic)))
            assert (event.get_type(), event.get_datacontenttype()) == (f"onboarding.{topic}", "application/json")
            assert event.get_data()["user"]["name"] == message.user.name


def test_the_sdk_reads_signals() -> None:
    sent, _ = handle("notify", on("notify"), mail=Mail(failures=1))
    [(key, value, headers)] = [message[1:] for message in sent.messages if message[0] == SIGNALS]
    event = from_kafka_event(KafkaMessage(headers=dict(headers), key=key, value=value or b""))
    assert (event.get_type(), event.get_source()) == ("onboarding.signal.failed", "/notifier")
    assert event.get_data()["reason"] == "timed out"


@pytest.mark.parametrize(
    "kind",
    [
        STRUCTURED,
        f"{STRUCTURED}; charset=utf-8",
        f'{STRUCTURED};charset="UTF-8"',
        STRUCTURED.upper(),
        f"{STRUCTURED} ; profile=x",
    ],
)
def test_an_event_in_structured_mode_is_the_request_in_its_data(kind: str, now: Callable[[str], None]) -> None:
    assert read(orjson.dumps(envelope()), kind) == decode(Message, ASKED)
    assert read(orjson.dumps(envelope(datacontenttype="application/json; charset=utf-8")), kind).id == "ada"
    coded = envelope(data=None, data_base64=base64.b64encode(ASKED).decode())
    assert read(orjson.dumps(coded), kind) == decode(Message, ASKED)
    now("structured mode is read, batches are refused by name")


def test_an_event_that_the_sdk_wrote_begins_a_saga() -> None:
    attributes = {"specversion": "1.0", "id": "e1", "source": "/hr", "type": "hired"}
    written = to_structured_event(CloudEvent(attributes, REQUEST))
    sent, table = handle("new-user", written.value, headers=list(written.headers.items()))
    assert sent.topics == ["authorize"]
    assert table.row("ada").user.name == "Ada"


@pytest.mark.parametrize(
    "kind",
    [None, "application/json", "application/json;charset=utf-8", "application/vnd.hr+json", "text/plain", "\xff"],
)
def test_a_request_is_read_whatever_its_content_type_says(kind: str | None) -> None:
    assert read(ASKED, None if kind is None else kind.encode("latin-1")).id == "ada"


@pytest.mark.parametrize(
    ("value", "kind", "names"),
    [
        (orjson.dumps([envelope()]), "application/cloudevents-batch+json", "application/cloudevents-batch+json"),
        (b"\x00", "application/cloudevents+avro", "application/cloudevents+avro"),
        (b"\x00", "application/cloudevents", "application/cloudevents is not supported"),
        (b"<user/>", "application/xml", "application/xml"),
        (b"name,email\n", "text/csv", "text/csv"),
        (b"\x00\x00", "application/\x1b[2J", r"application/\x1b[2J"),
        (ASKED.decode().encode("utf-16"), f"{STRUCTURED}; charset=utf-16", "charset utf-16"),
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
        (orjson.dumps(envelope(data={"v": 1})), STRUCTURED, "id: Field required"),
        (orjson.dumps(envelope()), None, f"this CloudEvent needs {STRUCTURED}"),
        (orjson.dumps(envelope()), "application/json", "v: Field required"),
    ],
)
def test_what_is_not_read_is_refused_by_name(value: bytes | None, kind: str | None, names: str) -> None:
    with pytest.raises(BadMessage) as error:
        read(value, kind)
    assert names in str(error.value)
    assert "Ada" not in str(error.value)


def test_a_refused_event_is_a_dead_letter_with_the_id_of_its_saga() -> None:
    value = orjson.dumps(envelope(data=REQUEST | {"user": {}}))
    sent, _ = handle("new-user", value, key=None, headers=[("content-type", STRUCTURED.encode())])
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
def test_whatever_a_client_writes_nothing_else_is_raised(value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
    with suppress(BadMessage):
        decode_request(value, headers)
