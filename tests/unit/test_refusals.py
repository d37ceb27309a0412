"""Outputs that the broker refuses: their records and sagas are parked, and oversized dead letters are shortened."""

import asyncio
from collections.abc import Sequence

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga import machine, operator_signals, saga_row
from saga_app.saga.codec import decode, encode, parse, replace_fields
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Parked, Row, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service import dead_letters
from saga_app.service.dead_letters import SHORTENED_BYTES, Refusals, shorten, with_letter
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.service.record import Headers
from saga_app.service.step import StepLoop
from saga_app.stream import Refused
from saga_app.stream.produce.refusal import size_of
from tests.builders import NO, at, request_to, waiting_row
from tests.fakes.record import FakeRecord
from tests.unit.step_harness import (
    ADAS_PARTITION,
    NEW_USER_REQUEST,
    PARTITIONS,
    FakeRows,
    SentMessages,
    dead_letter_in,
    fake_world,
    greylisting_mail,
    handle_record,
    table_with_deferred_mail,
    value_on,
    waiting_request,
)

pytestmark = pytest.mark.field(32)

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


def refusal_of(topic: str, value: bytes = b"{}", headers: Headers = (), key: bytes = b"ada") -> Refused:
    """The refusal of this message because of its size."""
    return Refused(topic, key, value, list(headers), TOO_LARGE)


def record(topic: str, value: bytes, headers: Headers = ()) -> FakeRecord:
    return FakeRecord(topic, ADAS_PARTITION, 7, 1_700_000_000_000, b"ada", value, list(headers))


def refuse_at_step(
    topic: str, value: bytes, refusals: Sequence[Refused], table: FakeRows | None = None
) -> tuple[bool, SentMessages]:
    """Process the refusal of a record's outputs at its step. Returns whether the record was parked, and the outputs."""
    step, sent = ONBOARDING.on(topic), SentMessages()
    assert step is not None
    kept = (Rows if step.service == "provisioner" else Effects)(table or FakeRows())
    loop = StepLoop(ONBOARDING, step, fake_world(), PARTITIONS, kept)
    return asyncio.run(loop.on_refusal(sent, record(topic, value), refusals, 0)), sent


def row_after_dead_letter(table: FakeRows, sent: SentMessages) -> Row:
    """The row of Ada's saga after the Provisioner has read the dead letter in `sent`."""
    [(_topic, _key, value, headers)] = sent.messages
    observer = Observer(ONBOARDING, Rows(table), PARTITIONS)
    asyncio.run(observer.handle(SentMessages(), None, record(DLQ, value or b"", headers)))
    return table.row("ada")


def test_a_refused_output_parks_its_record_with_the_brokers_reason() -> None:
    parked, sent = refuse_at_step("authorize", value_on("authorize"), [refusal_of("notify")])
    letter = dead_letter_in(sent)
    assert (parked, sent.messages[0][2]) == (True, value_on("authorize"))
    assert (letter.id, letter.step, letter.refused_by, letter.error) == ("ada", "authorize", "notify", "Refused")
    assert "MSG_SIZE_TOO_LARGE" in letter.reason


def test_a_saga_is_parked_at_the_step_whose_request_was_refused() -> None:
    _, table = handle_record("new-user", NEW_USER_REQUEST)
    _, sent = refuse_at_step("new-user", NEW_USER_REQUEST, [refusal_of("authorize")], table)
    row = row_after_dead_letter(table, sent)
    assert (row.state, row.step) == ("parked", "authorize")
    redriven = Signal(
        v=1, id="ada", saga="onboarding", kind="redriven", step="authorize", service="authorizer", at=at(9), attempt=2
    )
    decision = operator_signals.apply_operator_signal(ONBOARDING, row, redriven)
    assert decision is not None
    assert decision.onward is not None
    assert (decision.onward.topic, decision.onward.message.facts) == ("authorize", row.facts)


def test_a_saga_parked_during_its_rollback_can_be_redriven() -> None:
    revoke = request_to("revoke", {"notify": NO})
    table = FakeRows()
    Rows(table).join(SentMessages(), ADAS_PARTITION, waiting_row("revoke", 5, {"notify": NO}))
    _, sent = refuse_at_step("revoke", encode(revoke), [refusal_of("deprovision")])
    parked = row_after_dead_letter(table, sent)
    assert (parked.state, parked.step) == ("parked", "revoke")
    assert machine.is_past(parked, request_to("notify")), "a late forward request would be processed"
    cancelled = Signal(
        v=1, id="ada", saga="onboarding", kind="cancelled", step="revoke", service="authorizer", at=at(8)
    )
    assert operator_signals.apply_operator_signal(ONBOARDING, parked, cancelled) is None, (
        "a rollback in progress was cancelled"
    )
    redriven = replace_fields(cancelled, kind="redriven", attempt=2)
    decision = operator_signals.apply_operator_signal(ONBOARDING, parked, redriven)
    assert decision is not None
    assert decision.row.state == "rolling-back"
    assert operator_signals.apply_operator_signal(ONBOARDING, decision.row, redriven) is not None, (
        "the redelivered signal led to no request"
    )
    onward = waiting_row("deprovision", 9, {"notify": NO})
    assert saga_row.join(decision.row, onward) == replace_fields(onward, order=redriven, overdue=decision.row.overdue)


def test_a_refused_signal_parks_nothing() -> None:
    assert refuse_at_step("authorize", value_on("authorize"), [refusal_of(SIGNALS)]) == (False, SentMessages())


def test_a_refused_row_parks_its_record() -> None:
    _, sent = refuse_at_step("notified", value_on("notified"), [refusal_of(ROWS_CHANGELOG)])
    assert dead_letter_in(sent).refused_by == ROWS_CHANGELOG


def test_a_record_that_cannot_be_forwarded_is_parked() -> None:
    _, sent = refuse_at_step("authorize", value_on("authorize"), [refusal_of("authorize")])
    assert dead_letter_in(sent).id == "ada"


def refuse_at_observer(
    table: FakeRows, record: FakeRecord, refusals: Sequence[Refused], tries: int = 0
) -> SentMessages:
    """Process the refusal of outputs for a record on `dlq` or `saga-signals`; returns the Provisioner's outputs."""
    sent = SentMessages()
    observer = Observer(ONBOARDING, Rows(table), PARTITIONS)
    assert asyncio.run(observer.on_refusal(sent, record, refusals, tries))
    return sent


def test_an_oversized_parked_row_keeps_its_old_facts() -> None:
    _, table = handle_record("new-user", NEW_USER_REQUEST)
    before = table.row("ada")
    request = request_to("authorize")
    request.facts = {"device_id": "TB-1", "notes": "n" * 1000}
    _, sent = refuse_at_step("authorize", encode(request), [refusal_of("notify")])
    letter = record(DLQ, encode(request), sent.messages[0][3])
    again = refuse_at_observer(table, letter, [refusal_of(ROWS_CHANGELOG)])
    assert dead_letter_in(again).refused_by == ROWS_CHANGELOG
    assert again.messages[0][2] == encode(request)
    assert (table.row("ada").state, table.row("ada").facts) == ("parked", before.facts)
    assert refuse_at_observer(table, letter, [refusal_of(ROWS_CHANGELOG)], tries=1).messages == []


def test_a_refused_redrive_parks_its_saga_again() -> None:
    _, table = handle_record("new-user", NEW_USER_REQUEST)
    row = replace_fields(table.row("ada"), attempt=2)
    table.stored[ADAS_PARTITION, b"ada"] = encode(row)
    redriven = Signal(
        v=1, id="ada", saga="onboarding", kind="redriven", step="authorize", service="authorizer", at=at(9), attempt=2
    )
    sent = refuse_at_observer(table, record(SIGNALS, encode(redriven)), [refusal_of("authorize")])
    assert (dead_letter_in(sent).topic, dead_letter_in(sent).step) == (SIGNALS, "authorize")
    parked = row_after_dead_letter(table, sent)
    assert (parked.state, parked.step, parked.attempt) == ("parked", "authorize", 2)


LETTER = DeadLetter(
    v=1,
    topic="new-user",
    partition=3,
    offset=14,
    service="provisioner",
    step="provision",
    error="BadMessage",
    reason="not JSON",
    attempts=1,
    received_at=at(1),
    at=at(2),
    id=None,
    saga=None,
)


def test_a_shortened_dead_letter_parks_its_saga_and_keeps_its_facts() -> None:
    request = request_to("notify")
    request.facts |= {"notes": "n" * 3_000_000}
    letter = replace_fields(LETTER, topic="notify", step="notify", id="ada", saga="onboarding")
    value, headers = shorten(encode(request), with_letter([], letter), *SHORTENED_BYTES[0])
    body = parse(DLQ, value, headers)
    assert isinstance(body, Parked)
    assert body.letter.original_bytes == len(encode(request))
    parked = saga_row.row_parked(ONBOARDING, body)
    assert parked is not None
    row = waiting_row("notify", 2)
    joined = saga_row.join(row, parked)
    assert (joined.state, joined.facts) == ("parked", row.facts)


@given(
    st.none() | st.binary(max_size=100_000),
    st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=5_000)), max_size=8),
)
def test_each_shortened_dead_letter_is_smaller_and_states_both_sizes(
    value: bytes | None, original_headers: list[tuple[str, bytes]]
) -> None:
    original_headers = [header for header in original_headers if header[0] != DEAD_LETTER]
    whole, headers, sizes = value, with_letter(original_headers, LETTER), [size_of(value, original_headers)]
    for value_bytes, headers_bytes in SHORTENED_BYTES:
        value, headers = shorten(value, headers, value_bytes, headers_bytes)
        letter = decode(DeadLetter, dict(headers)[DEAD_LETTER])
        kept = size_of(value, [header for header in headers if header[0] != DEAD_LETTER])
        assert (letter.original_bytes, letter.kept_bytes) == (size_of(whole, original_headers), kept)
        assert kept <= min(sizes[-1], value_bytes + headers_bytes)
        assert value is None if whole is None else whole.startswith(value or b"")
        sizes.append(kept)


async def test_the_service_is_not_ready_while_dlq_refuses_dead_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class RefusingOutputs(SentMessages):
        async def acknowledged(self) -> None:
            raise letter

    monkeypatch.setattr(dead_letters, "RESEND_AFTER_S", 0.0)
    letter = refusal_of(DLQ, b"x" * 100_000, with_letter([], LETTER))
    refusals = Refusals()
    for tries in range(len(SHORTENED_BYTES)):
        await refusals.resend_shortened(RefusingOutputs(), letter, tries)
    assert refusals.problem is None
    await refusals.resend_shortened(RefusingOutputs(), letter, len(SHORTENED_BYTES))
    assert "dead letters cannot be stored: dlq refused" in (refusals.problem or "")
    await refusals.resend_shortened(SentMessages(), letter, len(SHORTENED_BYTES) + 1)
    assert refusals.problem is None


@pytest.mark.field(11)
@pytest.mark.parametrize("topic", ["notifier-effects-changelog", DLQ])
def test_parking_because_of_a_refusal_removes_the_waiting_request(topic: str) -> None:
    table = table_with_deferred_mail()
    refusal = refusal_of(topic, value_on("notify"), with_letter([], LETTER))
    parked, sent = refuse_at_step("notify", value_on("notify"), [refusal], table)
    assert (parked, sent.topics, waiting_request(table)) == (True, [DLQ], None)


@pytest.mark.field(11)
def test_a_refused_signal_keeps_the_waiting_request() -> None:
    class OutputsWithoutSignals(SentMessages):
        async def acknowledged(self) -> None:
            if SIGNALS in self.topics:
                raise refusal_of(SIGNALS)

    _, table = handle_record("notify", value_on("notify"), mail=greylisting_mail(), sent=OutputsWithoutSignals())
    entry = waiting_request(table)
    assert entry is not None
    parked, sent = refuse_at_step("notify", value_on("notify"), [refusal_of(SIGNALS)], table)
    assert (parked, sent.topics, waiting_request(table)) == (False, [], entry)
