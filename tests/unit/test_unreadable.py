"""What cannot be handled becomes a dead letter on every topic, the `dlq` and the signals included."""

import asyncio
from typing import Any

import pytest

from saga_app.saga import machine
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, decode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.stream import partition_of
from tests.fakes.record import FakeRecord
from tests.unit.test_step import PARTITIONS, Rowbook, Sent, handle, on


def observed(record: FakeRecord, table: Rowbook) -> Sent:
    """What the Provisioner sends after it has read a record of the `dlq` or the signals."""
    sent = Sent()
    asyncio.run(Observer(ONBOARDING, Rows(table), PARTITIONS).handle(sent, None, record))
    return sent


def letter_in(sent: Sent) -> DeadLetter:
    """The one dead letter that was sent."""
    ((topic, _, _, headers),) = sent.messages
    assert topic == DLQ
    return decode(DeadLetter, dict(headers)[DEAD_LETTER])


@pytest.mark.parametrize("topic", [DLQ, SIGNALS])
@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b'{"v":1}', b"[" * 100_000])
def test_a_stranger_in_the_dlq_or_the_signals_is_dead_lettered(topic: str, value: bytes | None) -> None:
    record = FakeRecord(topic, 3, 14, 0, b"ada", value, [(DEAD_LETTER, b"garbage"), ("kept", b"1")])
    table = Rowbook()
    sent = observed(record, table)
    letter = letter_in(sent)
    assert (letter.topic, letter.partition, letter.offset) == (topic, 3, 14)
    assert letter.reason
    assert sent.messages[0][2] == value
    assert ("kept", b"1") in sent.messages[0][3]
    assert not table.held, "no row is made or changed"


def test_the_dead_letter_of_a_dead_letter_is_read_without_another_one() -> None:
    table = Rowbook()
    home = partition_of(b"ada", PARTITIONS)
    first = observed(FakeRecord(DLQ, home, 7, 0, b"ada", b"{", []), table)
    _, key, value, headers = first.messages[0]
    assert observed(FakeRecord(DLQ, home, 8, 0, key, value, headers), table).messages == []


def test_an_unreadable_signal_does_not_park_the_saga_that_it_names() -> None:
    _, table = handle("new-user", on("new-user"))
    before = dict(table.held)
    ((partition, key),) = table.held
    first = observed(FakeRecord(SIGNALS, partition, 0, 0, key, b'{"v":1,"id":"ada"}', []), table)
    _, _, value, headers = first.messages[0]
    observed(FakeRecord(DLQ, partition, 0, 0, key, value, headers), table)
    assert table.held == before


@pytest.mark.parametrize("error", [TypeError("a bug"), KeyError("a bug"), RecursionError(), ZeroDivisionError()])
def test_a_fault_in_a_decision_parks_its_record(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def faulty(*_arguments: Any) -> Any:
        raise error

    request = on("authorize")
    monkeypatch.setattr(machine, "next_after", faulty)
    sent, _ = handle("authorize", request)
    letter = letter_in(sent)
    assert (letter.error, letter.step, letter.id) == (type(error).__name__, "authorize", "ada")
