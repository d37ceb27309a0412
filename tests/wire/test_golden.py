"""The wire, byte for byte: what services of yesterday and tomorrow must understand.

When a test here fails, the wire has changed: then old messages under way must still be read, and VERSION is at stake.
"""

from pathlib import Path

import orjson
import pytest

from saga_app.saga import machine
from saga_app.saga.messages import DeadLetter, Message, Row, Signal, decode, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.headers import headers_for
from tests.builders import NO, at, journey

GOLDEN = Path(__file__).parent / "golden"


def records() -> dict[str, Message | Row | Signal | DeadLetter]:
    """One of everything that the topics carry."""
    there, back = journey(), journey({"notify": NO})
    found: dict[str, Message | Row | Signal | DeadLetter] = {}
    for stop in [*back[3:5], *there]:
        if isinstance(stop, machine.End):
            found["row-completed"] = machine.row_ended(stop, at(9))
        else:
            found[stop[0]] = stop[1]
    found["row-running"] = machine.row_waiting_for(ONBOARDING, "authorize", journey()[1][1], at(1))  # type: ignore[index]
    found["signal-failed"] = Signal(
        1, "ada", "onboarding", "failed", "authorize", "authorizer", at(1), 2, 5, at(9), "timed out"
    )
    found["signal-redriven"] = Signal(
        1, "ada", "onboarding", "redriven", "authorize", "authorizer", at(70), 2, by="ana"
    )
    found["signal-cancelled"] = Signal(
        1, "ada", "onboarding", "cancelled", "authorize", "authorizer", at(80), 2, by="ana"
    )
    found["signal-overdue"] = Signal(
        1, "ada", "onboarding", "overdue", "authorize", "authorizer", at(60), reason="it takes too long", due_at=at(60)
    )
    found["dead-letter"] = DeadLetter(
        1, "authorize", 3, 14, "authorizer", "authorize", "Permanent", "gone", 1, at(1), at(2), "ada", "onboarding"
    )
    return found


RECORDS = records()


@pytest.mark.parametrize("name", RECORDS)
def test_what_we_write_is_what_was_agreed(name: str) -> None:
    ours = orjson.dumps(orjson.loads(encode(RECORDS[name])), option=orjson.OPT_INDENT_2) + b"\n"
    assert ours == (GOLDEN / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", RECORDS)
def test_what_was_agreed_is_understood(name: str) -> None:
    assert decode(type(RECORDS[name]), (GOLDEN / f"{name}.json").read_bytes()) == RECORDS[name]


def test_every_golden_file_belongs_to_a_record() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(RECORDS)


def test_the_headers_are_cloudevents_and_a_trace_context() -> None:
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
