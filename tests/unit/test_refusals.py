"""What becomes of a record whose output the broker refused, of its saga, and of a dead letter that is too large."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga import machine
from saga_app.saga.messages import (
    DEAD_LETTER,
    DLQ,
    SIGNALS,
    DeadLetter,
    Message,
    Parked,
    Row,
    Signal,
    decode,
    encode,
    parse,
)
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service import dead_letters
from saga_app.service.dead_letters import SHORTENED_BYTES, Refusals, shortened, with_letter
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.service.step import StepLoop
from saga_app.stream import Refused, partition_of
from saga_app.stream.produce.refusal import size_of
from tests.builders import NO, at, journey
from tests.fakes.record import FakeRecord
from tests.unit.test_step import ASKED, PARTITIONS, Rowbook, Sent, deferred, entry_of, greylisted, handle, on, world

pytestmark = pytest.mark.field(32)

HOME = partition_of(b"ada", PARTITIONS)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


def refused(topic: str, value: bytes = b"{}", headers: Any = (), key: bytes = b"ada") -> Refused:
    """The broker does not take this message."""
    return Refused(topic, key, value, headers, TOO_LARGE)


def record(topic: str, value: bytes, headers: Any = ()) -> FakeRecord:
    """A fetched record."""
    return FakeRecord(topic, HOME, 7, 1_700_000_000_000, b"ada", value, list(headers))


def at_step(topic: str, value: bytes, refusals: Sequence[Refused], table: Rowbook | None = None) -> tuple[bool, Sent]:
    """A step's record, what was refused of it, and what is sent instead."""
    step, sent = ONBOARDING.on(topic), Sent()
    assert step is not None
    rows = Rows(table or Rowbook()) if step.service == "provisioner" else None
    effects = None if rows else Effects(table or Rowbook())
    loop = StepLoop(ONBOARDING, step, world(), PARTITIONS, rows, effects)
    return asyncio.run(loop.on_refusal(sent, record(topic, value), refusals, 0)), sent


def letter_of(sent: Sent) -> tuple[DeadLetter, bytes | None]:
    """The one dead letter, and its value."""
    [(topic, _key, value, headers)] = sent.messages
    assert topic == DLQ
    return decode(DeadLetter, dict(headers)[DEAD_LETTER]), value


def noted(table: Rowbook, sent: Sent) -> Row:
    """The row after the Provisioner has read the dead letter."""
    [(_topic, _key, value, headers)] = sent.messages
    observer = Observer(ONBOARDING, Rows(table), PARTITIONS)
    asyncio.run(observer.handle(Sent(), None, record(DLQ, value or b"", headers)))
    return table.row("ada")


def test_a_refused_request_parks_the_record_that_led_to_it_with_the_brokers_reason() -> None:
    parked, sent = at_step("authorize", on("authorize"), [refused("notify")])
    letter, value = letter_of(sent)
    assert (parked, value) == (True, on("authorize"))
    assert (letter.id, letter.step, letter.refused_by, letter.error) == ("ada", "authorize", "notify", "Refused")
    assert "MSG_SIZE_TOO_LARGE" in letter.reason


def test_a_saga_whose_row_waits_for_the_refused_request_already_is_parked_there() -> None:
    _, table = handle("new-user", ASKED)
    _, sent = at_step("new-user", ASKED, [refused("authorize")], table)
    row = noted(table, sent)
    assert (row.state, row.step) == ("parked", "authorize")
    redriven = Signal(1, "ada", "onboarding", "redriven", "authorize", "authorizer", at(9), 2)
    turn = machine.apply_operator_signal(ONBOARDING, row, redriven)
    assert turn is not None
    assert turn.onward is not None
    assert (turn.onward.topic, turn.onward.message.facts) == ("authorize", row.facts)


def test_a_saga_on_its_way_back_is_parked_there_and_can_be_redriven() -> None:
    back = journey({"notify": NO})
    revoke, deprovision = (stop for stop in back if isinstance(stop, tuple) and stop[0] in ("revoke", "deprovision"))
    table = Rowbook()
    row = machine.row_waiting_for(ONBOARDING, "revoke", revoke[1], at(5))
    Rows(table).join(Sent(), HOME, row)
    _, sent = at_step("revoke", encode(revoke[1]), [refused("deprovision")])
    parked = noted(table, sent)
    assert (parked.state, parked.step) == ("parked", "revoke")
    assert machine.is_past(parked, decode(Message, on("notify"))), "a late request forward does nothing"
    cancelled = Signal(1, "ada", "onboarding", "cancelled", "revoke", "authorizer", at(8))
    assert machine.apply_operator_signal(ONBOARDING, parked, cancelled) is None, "it is on its way back already"
    redriven = replace(cancelled, kind="redriven", attempt=2)
    turn = machine.apply_operator_signal(ONBOARDING, parked, redriven)
    assert turn is not None
    assert turn.row.state == "rolling-back"
    assert machine.apply_operator_signal(ONBOARDING, turn.row, redriven) is not None, (
        "read again after a crash: sent again"
    )
    onward = machine.row_waiting_for(ONBOARDING, "deprovision", deprovision[1], at(9))
    assert machine.join(turn.row, onward) == replace(onward, order=redriven, overdue=turn.row.overdue)


def test_a_refused_signal_parks_nothing() -> None:
    assert at_step("authorize", on("authorize"), [refused(SIGNALS)]) == (False, Sent())


def test_a_row_that_is_refused_parks_its_record() -> None:
    _, sent = at_step("notified", on("notified"), [refused(ROWS_CHANGELOG)])
    assert letter_of(sent)[0].refused_by == ROWS_CHANGELOG


def test_a_record_that_cannot_be_forwarded_to_its_partition_is_parked() -> None:
    _, sent = at_step("authorize", on("authorize"), [refused("authorize")])
    assert letter_of(sent)[0].id == "ada"


def observed(table: Rowbook, body: FakeRecord, refusals: Sequence[Refused], tries: int = 0) -> Sent:
    """A record of the dlq or the signals, and what the Provisioner sends when something of it is refused."""
    sent = Sent()
    observer = Observer(ONBOARDING, Rows(table), PARTITIONS)
    assert asyncio.run(observer.on_refusal(sent, body, refusals, tries))
    return sent


def test_a_parked_row_that_is_too_large_keeps_its_old_facts_and_its_letter_says_so() -> None:
    _, table = handle("new-user", ASKED)
    before = table.row("ada")
    request = decode(Message, on("authorize"))
    request.facts = {"device_id": "TB-1", "notes": "n" * 1000}
    _, sent = at_step("authorize", encode(request), [refused("notify")])
    letter = record(DLQ, encode(request), sent.messages[0][3])
    again = observed(table, letter, [refused(ROWS_CHANGELOG)])
    assert letter_of(again)[0].refused_by == ROWS_CHANGELOG
    assert letter_of(again)[1] == encode(request)
    assert (table.row("ada").state, table.row("ada").facts) == ("parked", before.facts)
    assert observed(table, letter, [refused(ROWS_CHANGELOG)], tries=1).messages == []


def test_an_operators_redrive_that_is_refused_parks_its_saga_again() -> None:
    _, table = handle("new-user", ASKED)
    row = replace(table.row("ada"), attempt=2)
    table.held[HOME, b"ada"] = encode(row)
    redriven = Signal(1, "ada", "onboarding", "redriven", "authorize", "authorizer", at(9), 2)
    sent = observed(table, record(SIGNALS, encode(redriven)), [refused("authorize")])
    assert (letter_of(sent)[0].topic, letter_of(sent)[0].step) == (SIGNALS, "authorize")
    parked = noted(table, sent)
    assert (parked.state, parked.step, parked.attempt) == ("parked", "authorize", 2)


LETTER = DeadLetter(
    1, "new-user", 3, 14, "provisioner", "provision", "BadMessage", "not JSON", 1, at(1), at(2), None, None
)


def test_a_message_that_is_stored_cut_still_parks_its_saga_and_loses_no_facts() -> None:
    request = decode(Message, on("notify"))
    request.facts |= {"notes": "n" * 3_000_000}
    letter = replace(LETTER, topic="notify", step="notify", id="ada", saga="onboarding")
    value, headers = shortened(encode(request), with_letter([], letter), *SHORTENED_BYTES[0])
    body = parse(DLQ, value, headers)
    assert isinstance(body, Parked)
    assert body.letter.original_bytes == len(encode(request))
    news = machine.row_parked(ONBOARDING, body)
    assert news is not None
    row = machine.row_waiting_for(ONBOARDING, "notify", decode(Message, on("notify")), at(2))
    after = machine.join(row, news)
    assert (after.state, after.facts) == ("parked", row.facts)


@given(
    st.none() | st.binary(max_size=100_000),
    st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=5_000)), max_size=8),
)
def test_each_cut_is_smaller_than_the_one_before_and_tells_how_much_is_missing(
    value: bytes | None, carried: list[tuple[str, bytes]]
) -> None:
    carried = [header for header in carried if header[0] != DEAD_LETTER]
    whole, headers, sizes = value, with_letter(carried, LETTER), [size_of(value, carried)]
    for value_bytes, headers_bytes in SHORTENED_BYTES:
        value, headers = shortened(value, headers, value_bytes, headers_bytes)
        letter = decode(DeadLetter, dict(headers)[DEAD_LETTER])
        kept = size_of(value, [header for header in headers if header[0] != DEAD_LETTER])
        assert (letter.original_bytes, letter.kept_bytes) == (size_of(whole, carried), kept)
        assert kept <= min(sizes[-1], value_bytes + headers_bytes)
        assert value is None if whole is None else whole.startswith(value or b"")
        sizes.append(kept)


async def test_a_dlq_that_takes_nothing_makes_the_service_not_ready_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing(Sent):
        async def acknowledged(self) -> None:
            raise letter

    monkeypatch.setattr(dead_letters, "RESEND_AFTER_S", 0.0)
    letter = refused(DLQ, b"x" * 100_000, with_letter([], LETTER))
    refusals = Refusals()
    for tries in range(len(SHORTENED_BYTES)):
        await refusals.resend_shortened(Refusing(), letter, tries)
    assert refusals.problem is None
    await refusals.resend_shortened(Refusing(), letter, len(SHORTENED_BYTES))
    assert "dead letters cannot be stored: dlq refused" in (refusals.problem or "")
    await refusals.resend_shortened(Sent(), letter, len(SHORTENED_BYTES) + 1)
    assert refusals.problem is None


@pytest.mark.field(11)
@pytest.mark.parametrize("topic", ["notifier-effects-changelog", DLQ])
def test_a_request_that_is_parked_because_of_a_refusal_does_not_wait_any_more(topic: str) -> None:
    table = deferred()
    refusal = refused(topic, on("notify"), with_letter([], LETTER))
    parked, sent = at_step("notify", on("notify"), [refusal], table)
    assert (parked, sent.topics, entry_of(table)) == (True, [DLQ], None)


@pytest.mark.field(11)
def test_a_signal_that_is_refused_ends_no_wait_and_keeps_no_request_from_waiting() -> None:
    class WithoutSignals(Sent):
        async def acknowledged(self) -> None:
            if SIGNALS in self.topics:
                raise refused(SIGNALS)

    _, table = handle("notify", on("notify"), mail=greylisted(), sent=WithoutSignals())
    entry = entry_of(table)
    assert entry is not None
    parked, sent = at_step("notify", on("notify"), [refused(SIGNALS)], table)
    assert (parked, sent.topics, entry_of(table)) == (False, [], entry)
