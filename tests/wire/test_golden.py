"""The wire format, byte for byte, which older and newer services must understand.

A failure here means that the format has changed: messages in flight must still be readable, or `VERSION` must increase.
"""

from pathlib import Path
from typing import Any

import orjson
import pytest

from saga_app.saga import saga_row
from saga_app.saga.codec import decode, encode
from saga_app.saga.messages import DeadLetter, Message, Row, Signal
from saga_app.service.headers import headers_for
from tests.builders import NO, at, end_of_journey, request_to, waiting_row

GOLDEN = Path(__file__).parent / "golden"

#: The same records as earlier versions wrote them: with all fields, and times in milliseconds.
WITH_DEFAULTS = GOLDEN / "with-defaults"

Record = Message | Row | Signal | DeadLetter


def records() -> dict[str, Record]:
    """One record of each kind, by the name of its golden file."""
    found: dict[str, Record] = {}
    for topic in ("revoke", "deprovision"):
        found[topic] = request_to(topic, {"notify": NO})
    for topic in ("new-user", "authorize", "notify", "notified"):
        found[topic] = request_to(topic)
    found["row-completed"] = saga_row.row_ended(end_of_journey(), at(9))
    found["row-running"] = waiting_row("authorize")
    found["signal-failed"] = Signal(
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
    found["signal-redriven"] = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="redriven",
        step="authorize",
        service="authorizer",
        at=at(70),
        attempt=2,
        by="ana",
    )
    found["signal-cancelled"] = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="cancelled",
        step="authorize",
        service="authorizer",
        at=at(80),
        attempt=2,
        by="ana",
    )
    found["signal-overdue"] = Signal(
        v=1,
        id="ada",
        saga="onboarding",
        kind="overdue",
        step="authorize",
        service="authorizer",
        at=at(60),
        reason="it takes too long",
        due_at=at(60),
    )
    found["dead-letter"] = DeadLetter(
        v=1,
        topic="authorize",
        partition=3,
        offset=14,
        service="authorizer",
        step="authorize",
        error="Permanent",
        reason="gone",
        attempts=1,
        received_at=at(1),
        at=at(2),
        id="ada",
        saga="onboarding",
    )
    return found


RECORDS = records()


@pytest.mark.parametrize("name", RECORDS)
def test_each_record_is_encoded_as_its_golden_file(name: str) -> None:
    encoded = orjson.dumps(orjson.loads(encode(RECORDS[name])), option=orjson.OPT_INDENT_2) + b"\n"
    assert encoded == (GOLDEN / f"{name}.json").read_bytes()


@pytest.mark.parametrize("folder", [GOLDEN, WITH_DEFAULTS], ids=["current", "with defaults"])
@pytest.mark.parametrize("name", RECORDS)
def test_each_golden_file_is_decoded_to_its_record(name: str, folder: Path) -> None:
    record = RECORDS[name]
    kind: type[Any] = type(record)
    assert decode(kind, (folder / f"{name}.json").read_bytes()) == record


def test_every_golden_file_belongs_to_a_record() -> None:
    for folder in (GOLDEN, WITH_DEFAULTS):
        assert {path.stem for path in folder.glob("*.json")} == set(RECORDS)


def test_the_headers_are_those_of_cloudevents_and_trace_context() -> None:
    message = RECORDS["authorize"]
    assert isinstance(message, Message)
    assert headers_for(message, "authorize", "provisioner", at(1)) == [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"onboarding.authorize"),
        ("ce_source", b"/provisioner"),
        ("ce_id", b"onboarding:ada:authorize:1"),
        ("ce_time", b"2023-11-14T22:13:21.000Z"),
        ("traceparent", b"00-60d55467faf9469cd8656e5aa4b669b6-c7d784b1a52d9b7c-01"),
    ]
