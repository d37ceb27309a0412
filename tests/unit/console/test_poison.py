"""No record stops a reader, whatever its content: it is processed, or becomes a dead letter."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.audit import audit_records
from saga_app.saga.codec import BadMessage, decode, encode, parse
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, DeadLetter, Signal
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.service.record import Record
from saga_app.service.step import StepLoop
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.unit.console.index_harness import IndexHarness
from tests.unit.poison import MESSAGES, ROWS, SIGNAL_BODIES, VALUES, json_of, records
from tests.unit.step_harness import FakeRows, SentMessages, fake_world, handle_until_done


@pytest.mark.field(2, 3)
@settings(max_examples=150, deadline=None)
@given(records(ONBOARDING.topics, VALUES | MESSAGES.map(json_of), 1), st.none() | ROWS.map(json_of))
def test_a_service_processes_or_parks_every_record(record: FakeRecord, row: bytes | None) -> None:
    step = ONBOARDING.on(record.topic)
    assert step is not None
    table, sent = FakeRows(), SentMessages()
    if row is not None and step.service == "provisioner":
        table.stored[0, b"ada"] = row
    before = dict(table.stored)
    kept = Rows(table) if step.service == "provisioner" else Effects(table)
    asyncio.run(handle_until_done(StepLoop(ONBOARDING, step, fake_world(), 1, kept), sent, record))
    assert sent.messages or table.stored != before or _is_message(record)
    for topic, _, value, headers in sent.messages:
        if topic == DLQ:
            assert value == record.value
            assert decode(DeadLetter, dict(headers)[DEAD_LETTER]).reason


def _is_message(record: FakeRecord) -> bool:
    """Whether a record can be decoded: then it may be a duplicate, which needs no output."""
    try:
        return bool(parse(record.topic, record.value, record.headers, ROWS_CHANGELOG))
    except BadMessage:
        return False


class ImpatientObserver(Observer):
    """Does not wait for the row of a saga, because in this test none appears later."""

    async def wait_for_row(self, record: Record, signal: Signal) -> None:
        """Return at once."""


@settings(max_examples=150, deadline=None)
@given(records((DLQ, SIGNALS), VALUES | SIGNAL_BODIES.map(json_of), 1), st.none() | ROWS.map(json_of))
def test_the_observer_processes_every_record_without_an_exception(record: FakeRecord, row: bytes | None) -> None:
    table = FakeRows()
    if row is not None:
        table.stored[0, b"ada"] = row
    observer = ImpatientObserver(ONBOARDING, Rows(table), 1)
    asyncio.run(observer.handle(SentMessages(), None, record))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records(), max_size=12))
def test_the_console_reads_the_records_after_invalid_ones(index_url: str, invalid: list[FakeRecord]) -> None:
    harness = IndexHarness(index_url)
    harness.rebuild()
    try:
        topics = FakeTopics()
        topics.run_saga("eve")
        harness.read([*invalid, *topics.records])
        harness.restart()
        harness.read(invalid)
        assert harness.index.find(["eve"]) == {"eve": None}
    finally:
        harness.close()


@settings(max_examples=80, deadline=None)
@given(st.lists(records(), max_size=12))
def test_the_audit_accepts_any_records(invalid: list[FakeRecord]) -> None:
    topics = FakeTopics()
    topics.run_saga("eve")
    report = audit_records([*invalid, *topics.records], partitions=PARTITIONS)
    assert report.sagas >= 1
    assert not [finding for finding in report.findings if finding.saga == "eve"]


@given(st.sampled_from((SIGNALS, ROWS_CHANGELOG, "authorize")), st.one_of(MESSAGES, SIGNAL_BODIES, ROWS).map(json_of))
def test_a_decoded_record_can_be_encoded_and_decoded_again(topic: str, value: bytes) -> None:
    try:
        body: Any = parse(topic, value, (), ROWS_CHANGELOG)
    except BadMessage:
        return
    assert parse(topic, encode(body), (), ROWS_CHANGELOG) is not None
