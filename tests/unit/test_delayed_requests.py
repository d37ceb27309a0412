"""Requests that wait outside their partition for their next attempt: republishing, duplicates and compensations."""

from typing import Any

import pytest

from saga_app.saga.codec import decode, encode, replace_fields
from saga_app.saga.messages import DLQ, SIGNALS, Effects, Message, Signal
from saga_app.saga.retry import Deferred, Permanent
from saga_app.service.memory.delayed_requests import record_of
from saga_app.service.record import RETRY_ATTEMPT
from tests.unit.step_harness import (
    TRACEPARENT,
    FakeMail,
    SentMessages,
    compensation_value,
    greylisting_mail,
    handle_record,
    last_visit,
    republish,
    table_with_deferred_mail,
    value_on,
    waiting_request,
)


@pytest.mark.field(11)
def test_a_waiting_request_is_republished_with_its_value_and_headers() -> None:
    entry = waiting_request(table_with_deferred_mail())
    assert entry is not None
    value, headers = record_of(entry)
    assert value == value_on("notify")
    assert headers == [("traceparent", TRACEPARENT), ("x", b"\xff\x00"), (RETRY_ATTEMPT, b"6")]


@pytest.mark.field(11)
def test_attempts_continue_their_count_and_the_entry_is_removed() -> None:
    sent, table = republish(table_with_deferred_mail(), greylisting_mail(failures=1))
    assert sent.topics == [SIGNALS]
    assert decode(Signal, sent.messages[0][2]).attempt == 6
    sent, _ = republish(table, FakeMail())
    assert sent.topics == ["notified"]
    assert decode(Message, sent.messages[0][2]).history[-1].attempts == 7
    assert waiting_request(table) is None
    trace_id = dict(sent.messages[0][3])["traceparent"].split(b"-")[1]
    assert trace_id == TRACEPARENT.split(b"-")[1], "the trace was not continued"


@pytest.mark.field(11)
def test_duplicates_of_a_waiting_request_are_absorbed() -> None:
    table = table_with_deferred_mail()
    original, _ = handle_record("notify", value_on("notify"), mail=FakeMail(), table=table)
    old_entry = waiting_request(table)
    assert republish(table, greylisting_mail(failures=1))[0].topics == [SIGNALS]
    stale, _ = republish(table, FakeMail(), old_entry)
    assert (original.topics, stale.topics) == ([], [])
    assert republish(table, FakeMail())[0].topics == ["notified"]
    late, _ = republish(table, FakeMail(failures=1, error=Permanent("a second mail")), old_entry)
    assert late.topics == ["notified"], "the recorded result was not sent again"


@pytest.mark.field(11)
def test_a_request_republished_after_its_saga_was_parked_is_absorbed() -> None:
    table = table_with_deferred_mail()
    entry = waiting_request(table)
    assert republish(table, FakeMail(failures=1, error=Permanent("gone")))[0].topics == [DLQ]
    assert waiting_request(table) is None
    assert republish(table, FakeMail(), entry)[0].topics == []


@pytest.mark.field(11)
def test_a_compensation_ends_the_wait_without_a_follow_up_if_no_mail_left() -> None:
    table = table_with_deferred_mail()
    entry = waiting_request(table)
    unused = FakeMail(failures=1, error=Permanent("a follow-up"))
    sent, _ = handle_record("retract", compensation_value(), mail=unused, table=table)
    assert "nothing to compensate" in (last_visit(sent).reason or "")
    assert waiting_request(table) is None
    assert republish(table, FakeMail(), entry)[0].topics == []


@pytest.mark.field(11)
def test_the_follow_up_is_sent_if_a_waiting_mail_may_have_been_sent() -> None:
    sent, table = handle_record("notify", value_on("notify"), mail=FakeMail(failures=99))
    assert sent.topics == [SIGNALS] * 5
    mail = FakeMail()
    sent, _ = handle_record("retract", compensation_value(), mail=mail, table=table)
    assert (mail.failures, last_visit(sent).outcome, last_visit(sent).reason) == (-1, "done", None)


@pytest.mark.field(11)
def test_no_follow_up_is_sent_if_every_attempt_was_deferred() -> None:
    table = table_with_deferred_mail()
    while waiting_request(table):
        republish(table, greylisting_mail())
    unused = FakeMail(failures=1, error=Permanent("a follow-up"))
    sent, _ = handle_record("retract", compensation_value(), mail=unused, table=table)
    assert "nothing to compensate" in (last_visit(sent).reason or "")


@pytest.mark.field(11)
def test_a_redrive_begins_with_the_first_attempt_despite_a_waiting_entry() -> None:
    table = table_with_deferred_mail()
    redriven = replace_fields(decode(Message, value_on("notify")), attempt=2)
    sent, _ = handle_record("notify", encode(redriven), mail=greylisting_mail(failures=1), table=table)
    assert sent.topics == [SIGNALS, "notified"]
    assert decode(Signal, sent.messages[0][2]).attempt == 1
    assert waiting_request(table) is None


@pytest.mark.field(11)
@pytest.mark.parametrize("error", [Deferred("451"), Permanent("gone")])
def test_a_crash_before_outputs_are_acknowledged_keeps_the_entry(error: Exception) -> None:
    class Unacknowledged(SentMessages):
        async def acknowledged(self) -> None:
            if DLQ in self.topics or SIGNALS in self.topics:
                raise ConnectionError("killed")

    table = table_with_deferred_mail()
    entry = waiting_request(table)
    with pytest.raises(ConnectionError):
        republish(table, FakeMail(failures=1, error=error), sent=Unacknowledged())
    assert waiting_request(table) == entry
    assert republish(table, FakeMail())[0].topics == ["notified"], "the republished request made no attempt"


@pytest.mark.parametrize("value", [b"\xff", b"", b"-1", b"1.5", b"9" * 5000, "٣".encode(), None])
def test_an_invalid_retry_attempt_header_is_ignored(value: Any) -> None:
    sent, _ = handle_record("notify", value_on("notify"), headers=[(RETRY_ATTEMPT, value)])
    assert sent.topics == ["notified"]


def test_an_effects_row_without_waiting_requests_can_be_read() -> None:
    assert decode(Effects, b'{"v":1,"id":"ada","undone":["notify"]}').waiting == {}
