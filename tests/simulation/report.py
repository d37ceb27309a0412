"""Formats all records and crashes of a run, to find the cause of a violation."""

from collections.abc import Iterator

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga.codec import decode, parse
from saga_app.saga.messages import Body, Effects, Parked, Row, Signal
from saga_app.saga.times import iso
from tests.fakes.record import FakeRecord
from tests.simulation.clock import EPOCH
from tests.simulation.run import Result


def record_lines(result: Result) -> Iterator[str]:
    """A line for each record and each crash, in order, with the time in seconds since the start."""
    assert result.system is not None
    lines = [(record.timestamp / 1000 - EPOCH, _format_record(record)) for record in result.system.bus.records]
    lines += [(at, f"{worker} is KILLED {point}") for at, worker, point in result.system.crashes.log]
    return (f"{at:9.3f}  {line}" for at, line in sorted(lines, key=lambda line: line[0]))


def _format_record(record: FakeRecord) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}  {_format_content(record)}"


def _format_content(record: FakeRecord) -> str:
    try:
        if record.topic in EFFECTS_CHANGELOGS.values():
            row = decode(Effects, record.value)
            return f"{row.id} results {list(row.answers)}, tombstones {row.undone}, delayed {_delayed_requests(row)}"
        return _format_body(parse(record.topic, record.value, record.headers, ROWS_CHANGELOG))
    except ValueError as error:
        return f"unreadable: {error}"


def _delayed_requests(row: Effects) -> dict[str, tuple[int, str]]:
    return {step: (waiting.attempt, iso(waiting.next_at)) for step, waiting in row.waiting.items()}


def _format_body(body: Body) -> str:
    if isinstance(body, Parked):
        letter = body.letter
        return f"{letter.id} of {letter.topic}[{letter.partition}]@{letter.offset}: {letter.reason}"
    if isinstance(body, Signal):
        return f"{body.id} {body.kind} at {body.step}, attempt {body.attempt}, by {body.by}: {body.reason}"
    history = ", ".join(f"{line.step} {line.outcome}" for line in body.history)
    state = f"{body.state} at {body.step}, " if isinstance(body, Row) else ""
    return f"{body.id} {state}attempt {body.attempt}, history: {history or 'empty'}"
