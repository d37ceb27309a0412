"""Whatever a record holds, each reader goes on: it is handled, or becomes a dead letter, and the next one is read."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.audit import audit_records
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS, BadMessage, DeadLetter, decode, encode, parse
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.service.step import StepLoop
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.unit.console.filled_index import FilledIndex
from tests.unit.poison import MESSAGES, ROWS, SIGNALLED, VALUES, json_of, records
from tests.unit.test_step import Rowbook, Sent, to_the_end, world


@pytest.mark.field(2, 3)
@settings(max_examples=150, deadline=None)
@given(records(ONBOARDING.topics, VALUES | MESSAGES.map(json_of), 1), st.none() | ROWS.map(json_of))
def test_a_service_handles_every_record_or_parks_it(record: FakeRecord, row: bytes | None) -> None:
    """All on the one partition that there is."""
    step = ONBOARDING.on(record.topic)
    assert step is not None
    table, sent = Rowbook(), Sent()
    if row is not None and step.service == "provisioner":
        table.held[0, b"ada"] = row
    before = dict(table.held)
    kept = {"rows": Rows(table)} if step.service == "provisioner" else {"effects": Effects(table)}
    asyncio.run(to_the_end(StepLoop(ONBOARDING, step, world(), 1, **kept), sent, record))
    assert sent.messages or table.held != before or _is_message(record)
    for topic, _, value, headers in sent.messages:
        if topic == DLQ:
            assert value == record.value
            assert decode(DeadLetter, dict(headers)[DEAD_LETTER]).reason


def _is_message(record: FakeRecord) -> bool:
    """A duplicate of what a row knows already is absorbed."""
    try:
        return bool(parse(record.topic, record.value, record.headers, ROWS_CHANGELOG))
    except BadMessage:
        return False


@settings(max_examples=150, deadline=None)
@given(records((DLQ, SIGNALS), VALUES | SIGNALLED.map(json_of), 1), st.none() | ROWS.map(json_of))
def test_the_observer_goes_on_after_every_record(record: FakeRecord, row: bytes | None) -> None:
    table = Rowbook()
    if row is not None:
        table.held[0, b"ada"] = row
    observer = Observer(ONBOARDING, Rows(table), 1)
    observer.begun = _at_once  # type: ignore[method-assign]
    asyncio.run(observer.handle(Sent(), None, record))


async def _at_once(*_: Any) -> None:
    """The row is there or will not come."""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records(), max_size=12))
def test_the_console_reads_what_follows_any_records(url: str, poison: list[FakeRecord]) -> None:
    reading = FilledIndex(url)
    reading.index.rebuild("test")
    reading.restart()
    try:
        logs = FakeTopics()
        logs.saga("eve")
        reading.read([*poison, *logs.written])
        reading.restart()
        reading.read(poison)
        assert reading.index.find(["eve"]) == {"eve": None}
    finally:
        reading.close()


@settings(max_examples=80, deadline=None)
@given(st.lists(records(), max_size=12))
def test_the_audit_judges_any_records(poison: list[FakeRecord]) -> None:
    logs = FakeTopics()
    logs.saga("eve")
    report = audit_records([*poison, *logs.written], partitions=PARTITIONS)
    assert report.sagas >= 1
    assert not [finding for finding in report.findings if finding.saga == "eve"]


@given(st.sampled_from((SIGNALS, ROWS_CHANGELOG, "authorize")), st.one_of(MESSAGES, SIGNALLED, ROWS).map(json_of))
def test_what_is_read_can_be_written_and_read_again(topic: str, value: bytes) -> None:
    try:
        body: Any = parse(topic, value, (), ROWS_CHANGELOG)
    except BadMessage:
        return
    assert parse(topic, encode(body), (), ROWS_CHANGELOG) is not None
