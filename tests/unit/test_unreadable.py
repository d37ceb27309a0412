"""Records that cannot be processed become dead letters, also those on `dlq` and `saga-signals`."""

import asyncio

import pytest

from saga_app.saga import machine
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from tests.fakes.record import FakeRecord
from tests.unit.step_harness import (
    ADAS_PARTITION,
    PARTITIONS,
    FakeRows,
    SentMessages,
    dead_letter_in,
    handle_record,
    value_on,
)


def observe(record: FakeRecord, table: FakeRows) -> SentMessages:
    """Process a record on `dlq` or `saga-signals`; returns the Provisioner's outputs."""
    sent = SentMessages()
    asyncio.run(Observer(ONBOARDING, Rows(table), PARTITIONS).handle(sent, None, record))
    return sent


@pytest.mark.parametrize("topic", [DLQ, SIGNALS])
@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b'{"v":1}', b"[" * 100_000])
def test_an_invalid_record_on_dlq_or_signals_is_dead_lettered(topic: str, value: bytes | None) -> None:
    record = FakeRecord(topic, 3, 14, 0, b"ada", value, [(DEAD_LETTER, b"garbage"), ("kept", b"1")])
    table = FakeRows()
    sent = observe(record, table)
    letter = dead_letter_in(sent)
    assert (letter.topic, letter.partition, letter.offset) == (topic, 3, 14)
    assert letter.reason
    assert sent.messages[0][2] == value
    assert ("kept", b"1") in sent.messages[0][3]
    assert not table.stored, "a row was written"


def test_the_dead_letter_of_a_dead_letter_causes_no_further_one() -> None:
    table = FakeRows()
    first = observe(FakeRecord(DLQ, ADAS_PARTITION, 7, 0, b"ada", b"{", []), table)
    _, key, value, headers = first.messages[0]
    assert observe(FakeRecord(DLQ, ADAS_PARTITION, 8, 0, key, value, headers), table).messages == []


def test_an_unreadable_signal_does_not_park_its_saga() -> None:
    _, table = handle_record("new-user", value_on("new-user"))
    before = dict(table.stored)
    ((partition, key),) = table.stored
    first = observe(FakeRecord(SIGNALS, partition, 0, 0, key, b'{"v":1,"id":"ada"}', []), table)
    _, _, value, headers = first.messages[0]
    observe(FakeRecord(DLQ, partition, 0, 0, key, value, headers), table)
    assert table.stored == before


@pytest.mark.parametrize("error", [TypeError("a bug"), KeyError("a bug"), RecursionError(), ZeroDivisionError()])
def test_a_bug_in_the_state_machine_parks_the_record(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    request = value_on("authorize")
    monkeypatch.setattr(machine, "next_after", fail)
    sent, _ = handle_record("authorize", request)
    letter = dead_letter_in(sent)
    assert (letter.error, letter.step, letter.id) == (type(error).__name__, "authorize", "ada")
